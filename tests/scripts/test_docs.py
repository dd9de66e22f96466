"""What the site's own pages name exists; that the site builds, `make docs` checks."""

import re

import pytest

from tests.helpers import HOME
from trpo.scripts import __main__
from trpo.scripts.__main__ import COMMANDS

FOLDER = HOME / "scripts" / "docs"
PAGES = sorted((FOLDER / "pages").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_commands_and_links_of_a_page_exist(page):
    text = page.read_text(encoding="utf-8")
    for command in re.findall(r"\btrpo ([a-z]+)\b(?!\.)", text):
        assert command in COMMANDS, command
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_modules_of_the_api_reference_exist(page):
    for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        assert (HOME / f"{name.replace('.', '/')}.py").exists(), name


def test_every_page_is_on_the_site_and_every_question_in_the_list():
    site = (FOLDER / "mkdocs.yml").read_text(encoding="utf-8")
    questions = (FOLDER / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.relative_to(HOME).as_posix() in site
        if page.parent.name == "questions":
            assert page.relative_to(FOLDER).as_posix() in questions


def test_options_of_the_questions_exist(capsys):
    known = "--logdir "  # TensorBoard's
    for command in (["train", "CartPole-v1"], ["evaluate"], ["resume"], ["export"], ["compare"]):
        with pytest.raises(SystemExit):
            __main__.main([*command, "--help"])
        known += capsys.readouterr().out
    for page in (FOLDER / "pages" / "questions").glob("*.md"):
        for name in set(re.findall(r"--[a-z][\w.-]+", page.read_text(encoding="utf-8"))):
            assert re.search(rf"{re.escape(name)}(?![\w.-])", known), (page.stem, name)
