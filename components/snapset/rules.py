"""Validation rules that the inputs of sets and of restores share. Pure: no AWS, no Pulumi.

A rule takes a value and returns what is wrong with it, or None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snapset.errors import InputError, SnapsetError

# pulumi.runtime.rpc.UNKNOWN, spelled out so that this module needs no pulumi; a test holds the two equal.
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

INSTANCE_ID = re.compile(r"i-([0-9a-f]{8}|[0-9a-f]{17})")
# Pulumi's own rule; before the name may stand the organization, and the project.
STACK = re.compile(r"([\w.-]+/){0,2}[\w.-]{1,100}", re.ASCII)
REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+", re.ASCII)

Rule = Callable[[Any], str | None]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why an input is refused, the property that it belongs to, and the error behind it, if there is one."""

    property: str
    reason: str
    error: SnapsetError | None = None


def refuse(problems: Sequence[Problem], *, names: Mapping[str, str] | None = None) -> None:
    """Raise the error of the first of the problems, if there are any.

    Args:
        problems: why inputs are refused.
        names: what the inputs are called where they were given, such as `--tag`.

    Raises:
        SnapsetError: the error behind it, else an `InputError`.
    """
    for problem in problems:
        name = (names or {}).get(problem.property, problem.property)
        raise problem.error or InputError(f"reading {name}: {problem.reason}.")


def has_unknown(value: Any) -> bool:
    """Tell whether a value, or anything in it, is not yet known in this preview."""
    if isinstance(value, Mapping):
        return any(map(has_unknown, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(has_unknown, value))
    return bool(value == UNKNOWN)


def is_unset(value: Any) -> bool:
    """Tell whether a value is None or "", which is how a stack's config says that there is none."""
    return value is None or value == ""


def matches(pattern: re.Pattern[str], what: str, example: str) -> Rule:
    """Return the rule that a value is a string of this form."""

    def rule(value: Any) -> str | None:
        if isinstance(value, str) and pattern.fullmatch(value):
            return None
        return f"{value!r} is not {what} (like {example})"

    return rule


instance_id = matches(INSTANCE_ID, "an instance id", "i-0123456789abcdef0")
region = matches(REGION, "a Region", "us-east-1")
stack = matches(STACK, "the name of a stack", "web-prod")


def one_of(*allowed: str) -> Rule:
    """Return the rule that a value is one of these."""
    return lambda value: None if value in allowed else f"{value!r} is not one of {', '.join(allowed)}"


def boolean(value: Any) -> str | None:
    """Check that a value is true or false."""
    return None if isinstance(value, bool) else f"{value!r} is neither true nor false"


def string(value: Any) -> str | None:
    """Check that a value is a string."""
    return None if isinstance(value, str) else f"{value!r} is not a string"


def change_id(value: Any) -> str | None:
    """Check that a value can name a change."""
    if not isinstance(value, str):
        return string(value)
    if not value.strip():
        return f"{value!r} names no change"
    return None if value.isprintable() else f"{value!r} can't be printed"
