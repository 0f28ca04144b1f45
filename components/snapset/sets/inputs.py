"""Parse and validate what shapes a snapshot set. Pure: no AWS, no Pulumi.

Limits: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html and
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceSpecification.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from snapset.errors import InputError
from snapset.sets import tags as tag_rules

# pulumi.runtime.rpc.UNKNOWN, spelled out so that this leaf needs no pulumi; a test holds the two equal.
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

MAX_EXCLUSIONS = 40
MAX_DESCRIPTION = 255

INSTANCE_ID = re.compile(r"i-([0-9a-f]{8}|[0-9a-f]{17})")
_VOLUME_ID = re.compile(r"vol-([0-9a-f]{8}|[0-9a-f]{17})")
REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+", re.ASCII)
_OUTPOST_ARN = re.compile(r"arn:aws[a-z-]*:outposts:[a-z0-9-]+:\d{12}:outpost/op-[0-9a-f]{17}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One reason why an input is refused, and the property that it belongs to."""

    property: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SetInputs:
    """The valid inputs of one snapshot set.

    Attributes:
        instance_id: the instance, `i-` and 8 or 17 hex digits.
        scope: organization, project, stack and name of the resource that the set is for.
        region: where the instance runs.
        exclude_boot_volume: leave the root volume out.
        exclude_data_volume_ids: data volumes to leave out, sorted, at most 40.
        description: for every snapshot, at most 255 characters.
        tags: for every snapshot, at most 40.
        copy_tags_from_source: `volume` copies each volume's own tags to its snapshot.
        outpost_arn: the instance's Outpost, to store the snapshots there instead of in the Region.
        location: `local` stores them in the instance's Local Zone, `regional` in its Region.
        triggers: any value; a change of it means a new set.
        on_delete: `retain` or `delete` the snapshots when the resource goes.
        change_id: the change that the set is for, such as a commit.
    """

    instance_id: str
    scope: str
    region: str
    exclude_boot_volume: bool = False
    exclude_data_volume_ids: tuple[str, ...] = ()
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    copy_tags_from_source: str | None = None
    outpost_arn: str | None = None
    location: str | None = None
    triggers: Any = None
    on_delete: str = "retain"
    change_id: str | None = None

    @property
    def token(self) -> str:
        """The token of this intent; see `snapset.tags.token_of`."""
        return tag_rules.token_of(scope=self.scope, shape=shape_of(self.__dict__))


_DEFAULTS: Mapping[str, Any] = {
    "instance_id": None,
    "exclude_boot_volume": False,
    "exclude_data_volume_ids": [],
    "description": None,
    "tags": {},
    "copy_tags_from_source": None,
    "outpost_arn": None,
    "location": None,
    "region": None,
    "triggers": None,
    "change_id": None,
}


def shape_of(props: Mapping[str, Any]) -> dict[str, Any]:
    """Return every input whose change means a new set, with defaults filled in and lists in order."""
    shape = {key: default if _is_unset(key, props.get(key)) else props[key] for key, default in _DEFAULTS.items()}
    if isinstance(shape["exclude_data_volume_ids"], (list, tuple)):
        shape["exclude_data_volume_ids"] = sorted(shape["exclude_data_volume_ids"], key=str)
    shape["triggers"] = _as_written(shape["triggers"])
    return shape


def changed_shape(olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[str]:
    """Return the names of the shaping inputs that differ, or may differ since they are not yet known."""
    old, new = shape_of(olds), shape_of(news)
    # As JSON, since Python takes true for 1.
    texts = {key: [json.dumps(each[key], sort_keys=True, default=str) for each in (old, new)] for key in _DEFAULTS}
    return [key for key, (was, is_now) in texts.items() if was != is_now or has_unknown(new[key])]


def _is_unset(name: str, value: Any) -> bool:
    # An empty text is how the stack's config, and the aws provider's outputs, say that there is none.
    return value is None or (value == "" and name not in ("triggers", "region"))


def _as_written(value: Any) -> Any:
    # Pulumi carries every number as a float; the same trigger must give the same token before and after.
    if isinstance(value, Mapping):
        return {key: _as_written(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_written(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_served(olds: Mapping[str, Any], news: Mapping[str, Any]) -> bool:
    """Tell whether the old set is for the same change of the same instance: then it stays, whatever else differs."""
    return bool(news.get("change_id")) and all(
        olds.get(key) == news.get(key) for key in ("change_id", "instance_id", "region")
    )


def has_unknown(value: Any) -> bool:
    """Tell whether a value, or anything in it, is not yet known in this preview."""
    if isinstance(value, Mapping):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(has_unknown(item) for item in value)
    return bool(value == UNKNOWN)


def parse(props: Mapping[str, Any]) -> SetInputs:
    """Return the inputs as a value.

    Raises:
        InputError: the first problem that `problems_of` finds.
    """
    for problem in problems_of(props):
        raise InputError(f"reading {problem.property}: {problem.reason}.")
    shape = shape_of(props)
    shape["exclude_data_volume_ids"] = tuple(shape["exclude_data_volume_ids"])
    return SetInputs(**shape, scope=props.get("scope") or "", on_delete=props.get("on_delete") or "retain")


def problems_of(props: Mapping[str, Any]) -> list[Problem]:
    """Return everything that is wrong with the inputs as far as they are known, by property."""
    found: list[Problem] = []
    for name, find_problem in _RULES.items():
        value = props.get(name)
        not_known_yet = has_unknown(value) and not isinstance(value, (list, tuple))
        if not_known_yet or (_is_unset(name, value) and name not in _REQUIRED):
            continue
        if reason := find_problem(value):
            found.append(Problem(property=name, reason=reason))
    both = [props.get("outpost_arn"), props.get("location")]
    if all(both) and not has_unknown(both):
        reason = "outpost_arn stores the set on an Outpost, location in a Region or Local Zone; give one of them"
        found.append(Problem(property="location", reason=reason))
    return found


def matches(pattern: re.Pattern[str], what: str, example: str) -> Callable[[Any], str | None]:
    """Return the rule that a value is a text of this form."""

    def find_problem(value: Any) -> str | None:
        if isinstance(value, str) and pattern.fullmatch(value):
            return None
        return f"{value!r} is not {what} (like {example})"

    return find_problem


def one_of(*allowed: str) -> Callable[[Any], str | None]:
    """Return the rule that a value is one of these."""

    def find_problem(value: Any) -> str | None:
        return None if value in allowed else f"{value!r} is not one of {', '.join(allowed)}"

    return find_problem


def boolean(value: Any) -> str | None:
    """Return what is wrong with a value that has to be true or false, or None."""
    return None if isinstance(value, bool) else f"{value!r} is neither true nor false"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else f"{value!r} is not a text"


def _description(value: Any) -> str | None:
    if isinstance(value, str) and len(value) > MAX_DESCRIPTION:
        return f"it has {len(value)} characters; AWS takes at most {MAX_DESCRIPTION}"
    return _text(value)


def _exclusions(value: Any) -> str | None:
    if not isinstance(value, (list, tuple)):
        return f"{value!r} is not a list of volume ids"
    if len(value) > MAX_EXCLUSIONS:
        return f"{len(value)} exclusions are too many; AWS takes at most {MAX_EXCLUSIONS}"
    known = [item for item in value if not has_unknown(item)]
    for item in known:
        if reason := matches(_VOLUME_ID, "a volume id", "vol-0123456789abcdef0")(item):
            return reason
    twice = ", ".join(sorted({item for item in known if known.count(item) > 1}))
    return f"{twice} is listed twice" if twice else None


def tag_map(value: Any) -> str | None:
    """Return what is wrong with the user's tags, or None."""
    if not isinstance(value, Mapping):
        return f"{value!r} is not a map of tags"
    for key, item in value.items():
        if not isinstance(item, str):
            return f"the value of tag {key!r} is {item!r}, which is not a text"
    return tag_rules.problem_of(value)


_RULES: Mapping[str, Callable[[Any], str | None]] = {
    "instance_id": matches(INSTANCE_ID, "an instance id", "i-0123456789abcdef0"),
    "exclude_boot_volume": boolean,
    "exclude_data_volume_ids": _exclusions,
    "description": _description,
    "tags": tag_map,
    "copy_tags_from_source": one_of("volume"),
    "outpost_arn": matches(
        _OUTPOST_ARN, "an Outpost ARN", "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
    ),
    "location": one_of("regional", "local"),
    "region": matches(REGION, "a Region", "us-east-1"),
    "on_delete": one_of("retain", "delete"),
    "change_id": _text,
}
_REQUIRED = ("instance_id",)
