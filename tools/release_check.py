"""Fail if what is about to be released does not say the same version everywhere: `release_check.py v1.2.3`.

The tag gives the version. The package, as it is installed, must have it, and CHANGELOG.md must have it on top, with
the day of the release.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


def find_mistakes(tag: str, *, changelog: str, package_version: str, urls: list[str]) -> Iterator[str]:
    """Yield what keeps this tag from being released, a line each."""
    version = tag.removeprefix("v")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"{tag!r} is not a version like 1.2.3."
    if package_version != version:
        yield f"pyproject.toml has the version {package_version}, not {version}."
    newest = re.search(r"^## (.*)$", changelog, re.MULTILINE)
    heading = newest[1] if newest else "none"
    if not re.fullmatch(re.escape(version) + r" \(\d{4}-\d\d-\d\d\)", heading):
        yield f"CHANGELOG.md's newest heading is {heading!r}, not '{version} (YEAR-MONTH-DAY)'."
    if any("your-org" in url for url in urls):
        yield "[project.urls] in pyproject.toml names no home yet."


def main() -> int:
    """Run the command line; return the exit status."""
    about = metadata("snapset")
    mistakes = list(
        find_mistakes(
            sys.argv[1],
            changelog=CHANGELOG.read_text(encoding="utf-8"),
            package_version=about["Version"],
            urls=about.get_all("Project-URL") or [],
        )
    )
    sys.stderr.write("".join(f"{each}\n" for each in mistakes))
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
