"""Draw docs/pictures/demo.svg from a real run of the demo: `make pictures`.

As on a terminal, each resource has one row for a command of the engine: the last that was printed.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs/pictures/demo.svg"
_COLUMNS = 126

# A row of the engine: what happens to a resource, its type and its name.
_ROW = re.compile(r" (?:[+-]{1,2}| ) ? +([\w-]+:[\w/-]+:\w+ +[\w-]+) ")
_TICK = re.compile(r"@ \w+ ?\w*\.+$")


def run_demo() -> list[str]:
    """Run the demo, and return its lines, with their colours.

    Raises:
        CalledProcessError: the demo failed.
    """
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(_COLUMNS), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(ROOT / "demo/story.py")]
    ran = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
    )
    return ran.stdout.splitlines()


def as_on_a_terminal(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, with one row for each resource of an update, and no two empty lines in a row."""
    rows: dict[str, str] = {}
    empty = True
    for line in lines:
        if row := _ROW.match(line):
            rows[row[1]] = line
        elif not _TICK.match(line) and (line or not (empty or rows)):
            yield from rows.values()
            empty = not line and not rows
            rows = {}
            yield line


def draw(lines: Iterable[str]) -> str:
    """Return the lines as an SVG."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print("$ make demo", style="green", markup=False, highlight=False)
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="ellipsis", crop=True)
    return console.export_svg(title="make demo", unique_id="demo")


def main() -> int:
    """Write the picture."""
    PICTURE.write_text(draw(as_on_a_terminal(run_demo())), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
