"""README.md and the pages of docs/: their code blocks by heading, and their links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.project import REPOSITORY

README = REPOSITORY / "README.md"
PAGES = [README, *sorted((REPOSITORY / "docs").rglob("*.md"))]

_PIECES = re.compile(r"^#+ ([^\n]+)$|^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A block of code, with the page and the heading that it stands under."""

    page: str
    heading: str
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}: {self.heading}"


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def find_blocks(page: Path) -> Iterator[Block]:
    heading = ""
    for title, language, text in _PIECES.findall(page.read_text(encoding="utf-8")):
        if title:
            heading = title
        else:
            yield Block(name_of(page), heading, language, text)


def find_all(language: str) -> list[Block]:
    """The blocks of a language, in all pages."""
    return [block for page in PAGES for block in find_blocks(page) if block.language == language]


def find_links(page: Path) -> list[str]:
    """Where the links of a page lead; code is left out."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return _LINK.findall(text)


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
