"""The walk-throughs of docs/ in an empty folder: their files as printed, their commands with smaller settings."""

import re
import shlex

import pytest
from conftest import REPOSITORY

SMALL = {"train.py": ["recipe.epochs=1"], "measure.py": ["recipe.epochs=1", "measure.images=4"]}


@pytest.mark.parametrize("name", ["own_network", "own_data", "own_transformation"])
def test_the_commands_run_as_printed(name, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", (REPOSITORY / f"docs/{name}.md").read_text(), re.S | re.M)
    done = 0
    for language, content in blocks:
        if language in ("python", "yaml"):
            file = tmp_path / re.match(r"# (\S+)\n", content)[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        for line in content.splitlines() if language == "sh" else ():
            program, *arguments = shlex.split(line, comments=True)
            if "# downloads" in line or program != "python":
                continue
            if arguments[0].startswith("$EQ/"):
                script = arguments[0].removeprefix("$EQ/")
                result = run(script, *arguments[1:], *SMALL[script])
                assert result.code == 0, (line, result.error)
                done += 1
            elif arguments[0] == "-c":
                exec(arguments[1], {})
            else:
                exec((tmp_path / arguments[0]).read_text(), {})
    assert done and list(tmp_path.glob("runs/*/*/none/seed0/measure/*/results.csv"))
