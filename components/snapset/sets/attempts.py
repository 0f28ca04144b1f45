"""Notes on this machine of CreateSnapshots calls whose set may not be visible yet.

A run that follows at once on a killed one, or on one that got no answer, would not see what that one has taken, and
take a second set. The note tells it for how long to look. Where no folder can be written, nothing is noted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

# Set where a run on another machine is known to have been cut off while it took sets.
CUT_OFF = "SNAPSET_CUT_OFF"


def cut_off_elsewhere() -> bool:
    """Tell whether a run on another machine was cut off, so that what it took may not be visible yet."""
    return bool(os.environ.get(CUT_OFF))


def note(token: str, set_id: str, *, seconds: float) -> None:
    """Note that the set may show up within these seconds; a second note of the same set replaces the first."""
    if not (folder := _folder()):
        return
    path = folder / f"{token}.{set_id}"
    part = folder / f".{path.name}.{os.getpid()}"
    text = f"{time.time()} {seconds}"
    with suppress(OSError):
        try:
            part.write_text(text, encoding="utf-8")
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_text(text, encoding="utf-8")
        # Renamed, so that nobody reads half a note.
        part.replace(path)


def forget(token: str, set_id: str) -> None:
    """Take the note back: the call did not happen, or its set has been seen."""
    if folder := _folder():
        with suppress(OSError):
            (folder / f"{token}.{set_id}").unlink()


def awaited(tokens: Collection[str]) -> dict[str, float]:
    """Return the sets of these tokens that may still show up, and within how many seconds each.

    Notes whose time is up are removed, whatever they are of.
    """
    wanted, found = set(tokens), {}
    for path in _notes():
        left = _seconds_left(path)
        token, _, set_id = path.name.rpartition(".")
        if left <= 0:
            with suppress(OSError):
                path.unlink()
        elif token in wanted:
            found[set_id] = left
    return found


def _notes() -> list[Path]:
    folder = _folder()
    try:
        return sorted(folder.glob("[!.]*.*")) if folder else []
    except OSError:
        return []


def _seconds_left(path: Path) -> float:
    try:
        began, seconds = map(float, path.read_text(encoding="utf-8").split())
    except (OSError, ValueError):
        return 0
    # This machine's clock may have been set back meanwhile.
    return seconds - max(0, time.time() - began)


def _folder() -> Path | None:
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        state = given if given.is_absolute() else Path.home() / ".local/state"
    except RuntimeError:
        # There is no home.
        return None
    return state / "snapset" / "attempts"
