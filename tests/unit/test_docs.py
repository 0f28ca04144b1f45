"""README.md, docs/ and the demo's picture say what the code says; `make docs` checks the rest of the site."""

from __future__ import annotations

import ast
import dataclasses
import html
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from snapset import errors
from snapset.aws import session
from snapset.cli import app
from snapset.cli.context import INTERRUPTED
from snapset.limits import Limits
from snapset.sets import tags
from support.pages import PAGES, README, anchors_of, find_all, find_links, name_of
from support.project import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tools"))

import doc_tables

DOCS = REPOSITORY / "docs"
PACKAGE = REPOSITORY / "components/snapset"
HOME = "https://github.com/your-org/snapset"
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# What the command tells the engine that it starts.
NOT_FOR_USERS = {"CUT_OFF"}
PICTURE = DOCS / "pictures/demo.svg"


@pytest.mark.parametrize("page", doc_tables.PAGES, ids=name_of)
def test_the_tables_of_a_page_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert doc_tables.fill(text) == text, "run `make doc-tables`"


def test_every_command_has_its_table() -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## snapset (\S+)$", page, re.MULTILINE)
    assert headings == re.findall(r"^<!-- table: command (\S+) -->$", page, re.MULTILINE)
    assert set(headings) == COMMANDS.keys()


def test_every_stack_has_its_page_with_its_config() -> None:
    stacks = {path.stem for path in (REPOSITORY / "stacks").glob("*.py")}
    assert {path.stem for path in (DOCS / "stacks").glob("*.md")} == {*stacks, "index"}
    for stack in stacks:
        assert f"<!-- table: config {stack} -->" in (DOCS / f"stacks/{stack}.md").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_link_to_a_file_of_this_repository_is_dead(page: Path) -> None:
    for link in find_links(page):
        if link.startswith(f"{HOME}/blob/main/"):
            target = REPOSITORY / link.removeprefix(f"{HOME}/blob/main/")
        elif "://" in link:
            continue
        else:
            target = page.parent / link if not link.startswith("#") else page.parent / f"{page.name}{link}"
        path, _, anchor = str(target).partition("#")
        assert Path(path).exists(), link
        assert not anchor or anchor in anchors_of(Path(path)), link


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]

    def pages_in(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for each in (entry.values() if isinstance(entry, dict) else entry) for page in pages_in(each)]

    assert sorted(pages_in(menu)) == sorted(str(page.relative_to(DOCS)) for page in doc_tables.PAGES)


def test_every_command_line_that_is_printed_is_one_that_the_command_takes() -> None:
    printed = [
        line
        for block in find_all("sh")
        for line in block.text.splitlines()
        if line.startswith("snapset ") and "#" not in line.split()[:1]
    ]
    assert printed
    nested = [command for line in printed for command in re.findall(r"\$\((snapset [^)]*)\)", line)]
    for line in [*printed, *nested]:
        # As if the nested command had printed an id.
        plain = re.sub(r"\$\([^)]*\)", "set-0123456789abcdef0", line)
        words = shlex.split(plain.partition(" > ")[0], comments=True)
        words = [re.sub(r"^\$\w+$", "i-0123456789abcdef0", word) for word in words]
        COMMANDS[words[1]].make_context(words[1], words[2:])


def test_every_yaml_that_is_printed_gives_the_action_only_inputs_that_it_has() -> None:
    inputs = yaml.safe_load((REPOSITORY / "action.yml").read_text(encoding="utf-8"))["inputs"]
    steps = [step for block in find_all("yaml") for step in yaml.safe_load(block.text) if "uses" in step]
    assert steps
    for step in steps:
        assert step["with"].keys() <= inputs.keys()


def test_the_document_that_is_printed_has_what_the_schema_says() -> None:
    schema = json.loads((REPOSITORY / "components/snapset/schema.json").read_text(encoding="utf-8"))["$defs"]
    [printed] = [json.loads(block.text) for block in find_all("json") if block.page == "docs/json.md"]
    [taken] = printed["sets"]
    assert {*schema["setFields"]["required"], *schema["takenSet"]["required"]} <= taken.keys()
    assert taken.keys() <= {*schema["setFields"]["properties"], *schema["takenSet"]["properties"]}


def test_the_exit_codes_are_those_of_the_errors_and_of_the_commands() -> None:
    page = (DOCS / "json.md").read_text(encoding="utf-8")
    printed = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    ends = " ".join(command.epilog or "" for command in COMMANDS.values())
    of_commands = {int(code) for code in re.findall(r"(?<=[:;] )(\d+)", ends)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    of_errors = {kind.exit_code for kind in kinds if issubclass(kind, errors.SnapsetError)}
    assert printed == of_commands | of_errors | {INTERRUPTED}


def test_the_variables_and_their_defaults_are_those_of_the_code() -> None:
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    printed = dict(re.findall(r"^\| `SNAPSET_(\w+)` \| .* \| ?(\d*) \|$", page, re.MULTILINE))
    code = " ".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    names = {name for name in re.findall(r"SNAPSET_([A-Z_]+[A-Z])\b", code) if name not in NOT_FOR_USERS}
    assert names <= printed.keys() | {"ENGINE_DIR"}
    for field in dataclasses.fields(Limits):
        assert float(printed[f"{field.name.upper()}_SECONDS"]) == field.default
    assert float(printed["READ_SECONDS"]) == session._READ_SECONDS


def test_the_tags_are_those_of_the_code() -> None:
    page = (DOCS / "exactly-one-set.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(snapset:[a-z0-9-]+)`", page)) == set(tags.OWN_KEYS)


def test_the_picture_shows_the_demo_as_it_is() -> None:
    shown = _text_of(PICTURE)
    said = _headlines()
    for title, text in said.items():
        assert _squeezed(title) in shown, f"run `make pictures`: {title}"
        assert _squeezed(text) in shown, f"run `make pictures`: {text}"
    numbered = re.findall(r"^\d+\. .*", _lines_of(PICTURE), re.MULTILINE)
    assert [line for line in numbered if not line.startswith(tuple(said))] == [], "run `make pictures`"


def _headlines() -> dict[str, str]:
    """What the demo says before each step, by its title; of a text with values in it, the longest piece without."""
    story = ast.parse((REPOSITORY / "demo/story.py").read_text(encoding="utf-8"))
    found = {}
    for call in ast.walk(story):
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("say", "self._say") and len(call.args) > 1:
            title, text = (_constant(argument) for argument in call.args[:2])
            if title:
                found[title] = text
    assert found
    return found


def _constant(node: ast.expr) -> str:
    pieces = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return max(pieces, key=len, default="")


def _lines_of(picture: Path) -> str:
    """The text of the picture, line by line: rich draws each piece of a line at its place."""
    lines: dict[float, str] = {}
    drawn = re.findall(r'<text [^>]*\by="([\d.]+)"[^>]*>([^<]*)</text>', picture.read_text(encoding="utf-8"))
    for height, text in drawn:
        lines[float(height)] = lines.get(float(height), "") + html.unescape(text).replace("\xa0", " ")
    return "\n".join(lines.values())


def _text_of(picture: Path) -> str:
    return _squeezed(_lines_of(picture))


def _squeezed(text: str) -> str:
    # Without spaces, since a long line is broken.
    return re.sub(r"\s", "", text)
