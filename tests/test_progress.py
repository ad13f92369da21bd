"""Progress in a log file: plain lines, few of them, that say what is done, how far it is and when it ends."""

import re
import sys

from equivariance import progress


def lines(capsys, seconds, step=1.0):
    """What a log file holds after so many seconds, by a made-up clock."""
    with progress.progress("digits6 cnn7", 200, done=100, images=128) as bar:
        now = bar.start_t
        bar._time = lambda: now
        for _ in range(seconds):
            now += step
            bar.update(128)
        bar.set_postfix_str("epoch 3", False)
    captured = capsys.readouterr()
    assert "\r" not in captured.err and captured.out == ""
    return captured.err.splitlines()


def test_a_line_every_half_minute_and_one_at_the_end(capsys):
    found = lines(capsys, 100)
    assert len(found) == 4
    assert re.fullmatch(r"digits6 cnn7: 65%, 16.6k of 25.6k images, 128img/s, 01:10 left", found[0]), found
    assert found[-1].startswith("digits6 cnn7: 100%") and found[-1].endswith("00:00 left, epoch 3")


def test_what_is_soon_done_says_nothing(capsys):
    assert lines(capsys, 20) == []


def test_a_terminal_gets_a_bar_unless_jobs_share_it(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.progress("x", 10) as bar:
        assert type(bar) is not progress.Lines
    monkeypatch.setattr(progress, "shared_terminal", True)
    with progress.progress("x", 10) as bar:
        assert type(bar) is progress.Lines
