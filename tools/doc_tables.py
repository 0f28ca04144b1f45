"""Write the tables of docs/ that follow from the code: `make doc-tables`.

A page asks for a table with two comments; what stands between them is written anew:

    <!-- table: command backup -->
    <!-- /table -->

`command NAME` has a command's options, `inputs CLASS` and `outputs CLASS` those of a resource, `arguments FUNCTION`
those of a function, `config STACK` the config that a stack program reads, `text MODULE` the indented part of a
module's docstring, `fields MODULE CLASS` those of a class that its docstring describes.
"""

from __future__ import annotations

import ast
import enum
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import snapset
import typer
import yaml
from snapset.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))

_TABLE = re.compile(r"(<!-- table: ([^\n]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
# A docstring of this package describes a value as `name: text`, and goes on with more indentation, if any.
_ENTRY = re.compile(r"([a-z_]+(?:, [a-z_]+)*): (.*)", re.DOTALL)
# A stack's config key may be described for some stacks only: `restore - the zone; fleet - the tags`.
_FOR_STACKS = re.compile(r"(?:^|; )([\w, ]+) - (.*?)(?=; [\w, ]+ - |$)")
_TAKES_SETS = re.compile(r"\b(?:Instance|Fleet)Snapshots\(")
_READS_CONFIG = re.compile(r"config\.(?:get|require)\w*\(\s*\"(\w+)\"")


def fill(page: str) -> str:
    """Return the page with every table written anew."""

    def write(found: re.Match[str]) -> str:
        kind, *names = found[2].split()
        return f"{found[1]}\n{TABLES[kind](*names)}\n\n{found[3]}"

    return _TABLE.sub(write, page)


def command_table(name: str) -> str:
    """Return what a command takes, and what it ends with."""
    command: Any = typer.main.get_command(app)
    command = command.commands[name]
    types = typing.get_type_hints(command.callback, include_extras=False)
    rows = [(_names_of(each), _help_of(each, types[each.name])) for each in command.params]
    ends = re.sub(r"(?<=[:;] )(\d+)", r"`\1`", command.epilog or "")
    options = _table(("option", "what it does"), rows) if rows else "It has no options."
    return "\n\n".join(filter(None, [options, ends]))


def _names_of(option: Any) -> str:
    if option.param_type_name == "argument":
        return f"`{option.metavar}`"
    metavar = "" if option.is_flag else f" {option.metavar or option.name.rstrip('_').upper()}"
    return ", ".join(f"`{each}{metavar}`" for each in [*option.opts, *option.secondary_opts])


def _help_of(option: Any, annotation: Any) -> str:
    notes = [_choices(annotation)]
    if option.default is True:
        notes.append("This is the default.")
    elif option.default not in (None, False):
        default = option.default.value if isinstance(option.default, enum.Enum) else option.default
        notes.append(f"Default: `{default}`.")
    return " ".join(filter(None, [option.help, *notes]))


def _choices(annotation: Any) -> str:
    for kind in (annotation, *typing.get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return f"One of {', '.join(f'`{each.value}`' for each in kind)}."
    return ""


def inputs_table(name: str) -> str:
    """Return the inputs of a resource: those that its class of arguments, and the ones below it, describe."""
    return _table(("input", "what it is"), _described(getattr(_home_of(name), f"{name}Args")))


def outputs_table(name: str) -> str:
    """Return the outputs of a resource, or of a record."""
    return _table(("output", "what it is"), _described(getattr(snapset, name)))


def _home_of(name: str) -> Any:
    return inspect.getmodule(getattr(snapset, name))


def _described(kind: Any) -> Iterator[tuple[str, str]]:
    """Yield the fields of a class with the strings below them; its own first, then those of its bases."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - what inspect gave
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield f"`{ast.unparse(field.target)}`", _on_one_line(str(text.value.value))
    for base in getattr(kind, "__orig_bases__", ()):
        if getattr(base, "__module__", "").startswith("snapset."):
            yield from _described(base)


def arguments_table(name: str) -> str:
    """Return the arguments of a function, with their defaults."""
    function = getattr(snapset, name)
    defaults = inspect.signature(function).parameters
    section = re.search(r"\nArgs:\n(.*?)(?:\n\n|\Z)", inspect.getdoc(function) or "", re.DOTALL)
    rows = [
        (f"`{argument}`", f"{text}{_default(defaults[argument].default)}")
        for argument, text in _entries(section[1] if section else "")
    ]
    return _table(("argument", "what it is"), rows)


def _default(value: object) -> str:
    return "" if value in (None, "", (), inspect.Parameter.empty) else f" Default: `{value}`."


def config_table(stack: str) -> str:
    """Return the keys of the stack's config that a stack program reads, as Pulumi.yaml describes them."""
    source = (ROOT / "stacks" / f"{stack}.py").read_text(encoding="utf-8")
    read = set(_READS_CONFIG.findall(source))
    if _TAKES_SETS.search(source):
        # The provider reads it.
        read.add("preflight")
    settings = yaml.safe_load((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))["config"]
    keys = [key for key in settings if key in read]
    rows = [(f"`{key}`", settings[key]["type"], _description(settings[key], stack)) for key in keys]
    return _table(("key", "type", "what it is"), rows)


def _description(setting: Mapping[str, Any], stack: str) -> str:
    text = str(setting["description"])
    for stacks, part in _FOR_STACKS.findall(text):
        if stack in stacks.split(", "):
            text = f"{part[0].upper()}{part[1:]}"
    default = setting["default"]
    said = str(default).lower() if isinstance(default, bool) else str(default)
    return f"{text}." + (f" Default: `{said}`." if default not in ("", [], {}, 0, False) else "")


def action_table(part: str) -> str:
    """Return the inputs, or the outputs, of the GitHub Action."""
    entries = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))[part]
    rows = [
        (f"`{name}`", f"{entry['description']}.{_default(entry.get('default'))}") for name, entry in entries.items()
    ]
    return _table((part.removesuffix("s"), "what it is"), rows)


def text_block(module: str) -> str:
    """Return the indented part of a module's docstring. The module is not imported: it may need what is not there."""
    text = ast.get_docstring(_source_of(module)) or ""
    indented = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    return f"```text\n{textwrap.dedent(indented)}\n```"


def fields_table(module: str, name: str) -> str:
    """Return the fields that a class's docstring describes. The module is not imported."""
    [found] = [node for node in ast.walk(_source_of(module)) if isinstance(node, ast.ClassDef) and node.name == name]
    _, _, described = (ast.get_docstring(found) or "").partition("\n\n")
    described = described.removeprefix("Attributes:\n")
    return _table(("field", "what it is"), [(_quoted(field), text) for field, text in _entries(described)])


def _quoted(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", "))


def _source_of(module: str) -> ast.Module:
    spec = find_spec(module)
    return ast.parse(Path(str(spec and spec.origin)).read_text(encoding="utf-8"))


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield the entries `name: text` of a docstring, whose further lines are indented deeper."""
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(text)):
        if found := _ENTRY.fullmatch(entry):
            sentence = _on_one_line(found[2])
            # Not the name of a value, such as `snapshot_seconds`.
            starts_with_word = sentence.partition(" ")[0].isalpha()
            yield found[1], f"{sentence[0].upper()}{sentence[1:]}" if starts_with_word else sentence


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [[*titles], ["---"] * len([*titles]), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return _on_one_line(text).replace("|", "\\|")


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


TABLES: Mapping[str, Callable[..., str]] = {
    "command": command_table,
    "inputs": inputs_table,
    "outputs": outputs_table,
    "arguments": arguments_table,
    "config": config_table,
    "action": action_table,
    "text": text_block,
    "fields": fields_table,
}


def main() -> int:
    """Write all pages whose tables have changed."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if (filled := fill(text)) != text:
            page.write_text(filled, encoding="utf-8")
            sys.stderr.write(f"{page.relative_to(ROOT)} is written anew\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
