"""Which call of a run is meant: by its action and its number, so that a call more elsewhere shifts no other one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from support.project import READ_ONLY


@dataclass(frozen=True)
class Place:
    """The nth call of an action, from 1.

    after: what changed something last, such as `CreateVolume 3`. Looks count from there, all else from the start.
    """

    action: str
    nth: int
    after: str = ""

    def __str__(self) -> str:
        own = f"{self.action}#{self.nth}"
        return f"{own}-after-{self.after.replace(' ', '#')}" if self.after else own

    @property
    def looks(self) -> bool:
        return self.action.startswith(READ_ONLY)

    @property
    def fault(self) -> dict[str, Any]:
        """The fields of a fault that comes at this call."""
        return {"action": self.action, "skip": self.nth - 1, "after": self.after}


def places_in(actions: Iterable[str]) -> list[Place]:
    """Return the place of each call of a run, from the actions of all of them."""
    places: list[Place] = []
    counted, after = Counter[str](), ""
    for action in actions:
        counted[action] += 1
        if action.startswith(READ_ONLY):
            places.append(Place(action, counted[action], after))
            continue
        places.append(Place(action, counted[action]))
        after = f"{action} {counted[action]}"
        counted = Counter({made: times for made, times in counted.items() if not made.startswith(READ_ONLY)})
    return places


def places_of(calls: Iterable[dict[str, Any]]) -> list[Place]:
    """Return the places of the calls of a log; dry runs have none."""
    return places_in(call["action"] for call in calls if not call["dry_run"])
