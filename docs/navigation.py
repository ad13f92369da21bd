"""Puts every page of experiments/ into the navigation of the site, under its own heading; mkdocs.yml names it."""

from pathlib import Path


def on_config(config):
    folder = Path(config.docs_dir)
    pages = sorted(str(page.relative_to(folder)) for page in folder.glob("experiments/*/README.md"))
    section = next(entry["Experiments"] for entry in config.nav if "Experiments" in entry)
    section += pages
    return config
