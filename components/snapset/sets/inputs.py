"""The inputs of one snapshot set: their rules, what replaces a set, and the request to AWS. Calls nothing.

Limits: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html and
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceSpecification.html
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from snapset import rules
from snapset.aws.ec2 import tag_list
from snapset.aws.records import InstanceFacts
from snapset.rules import UNKNOWN, Problem, Rule, has_unknown
from snapset.sets import instance_tag
from snapset.sets import tags as tag_rules

MAX_EXCLUSIONS = 40
MAX_DESCRIPTION = 255

_VOLUME_ID = re.compile(r"vol-([0-9a-f]{8}|[0-9a-f]{17})")
_OUTPOST_ARN = re.compile(r"arn:aws[a-z-]*:outposts:[a-z0-9-]+:\d{12}:outpost/op-[0-9a-f]{17}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class SetInputs:
    """The valid inputs of one snapshot set; `snapset.resources.snapshot_set.SnapshotSetArgs` says what each is.

    `scope` is whom the set is for: organization and URN of the resource; empty where any set of the change will do,
    whoever took it. Exclusions are sorted. The stack's `default_tags` shape nothing; nor do `tagged_volume_ids`,
    `instance_tags` and `was`, which are looked up when a set is taken.
    """

    instance_id: str
    scope: str
    region: str
    exclude_boot_volume: bool = False
    exclude_data_volume_ids: tuple[str, ...] = ()
    exclude_data_volume_tags: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    copy_tags_from_source: str | None = None
    copy_tags_from_instance: bool = False
    outpost_arn: str | None = None
    location: str | None = None
    triggers: Any = None
    change_id: str | None = None
    default_tags: Mapping[str, str] = field(default_factory=dict)
    tagged_volume_ids: tuple[str, ...] = ()
    instance_tags: Mapping[str, str] = field(default_factory=dict)
    was: InstanceFacts | None = None

    @property
    def needs_more_than_volumes(self) -> bool:
        """Whether a look at the volumes that are attached to the instance does not tell enough to take a set."""
        chosen = self.exclude_boot_volume or self.exclude_data_volume_ids or self.outpost_arn
        return self.needs_instance or bool(chosen)

    @property
    def needs_instance(self) -> bool:
        """Whether what is snapshotted, or its tags, can't be known without a look at the instance."""
        return bool(self.exclude_data_volume_tags or self.copy_tags_from_instance)

    @property
    def all_exclusions(self) -> list[str]:
        """The data volumes to leave out: those that are named, and those that have one of the tags."""
        return sorted({*self.exclude_data_volume_ids, *self.tagged_volume_ids})

    def leaves_out(self, excluded: Sequence[str]) -> bool:
        """Tell whether all of these volumes are left out, too; they are as `tags.excluded_text` abbreviates them."""
        ids = self.all_exclusions
        return all(
            self.exclude_boot_volume if word == tag_rules.ROOT else any(volume_id.endswith(word) for volume_id in ids)
            for word in excluded
        )

    @property
    def user_tags(self) -> dict[str, str]:
        """The tags of every snapshot, but for snapset's own."""
        return {**self.default_tags, **self.instance_tags, **self.tags}

    @property
    def resource(self) -> str:
        """Whose set it is, as the sets of all its intents have it in a tag; empty if it is nobody's."""
        return hashlib.sha256(self.scope.encode()).hexdigest()[:16] if self.scope else ""

    @cached_property
    def token(self) -> str:
        """The token of this intent; see `snapset.sets.tags.token_of`.

        A change of an instance is one intent, whatever else differs.
        """
        shape = shape_of(self.__dict__)
        intent = {name: shape[name] for name in _CHANGE} if self.change_id else shape
        return tag_rules.token_of(scope=self.scope, shape=intent)

    def request(self, *, set_id: str, count: int | None = None) -> dict[str, Any]:
        """Return the CreateSnapshots request for a set of this id, with all tags.

        Args:
            set_id: `set-` and 17 hex digits.
            count: how many snapshots the set will have, or None if that is not known.
        """
        own = tag_rules.own_tags(
            set_id=set_id,
            token=self.token,
            resource=self.resource,
            instance_id=self.instance_id,
            change_id=self.change_id,
            count=count,
            was=instance_tag.tags_of(self.was) if self.was else {},
            excluded=tag_rules.excluded_text(self.all_exclusions, root=self.exclude_boot_volume),
            volumes_copied=self.copy_tags_from_source is not None,
        )
        instance: dict[str, Any] = {"InstanceId": self.instance_id}
        if self.exclude_boot_volume:
            instance["ExcludeBootVolume"] = True
        if self.all_exclusions:
            instance["ExcludeDataVolumeIds"] = self.all_exclusions
        optional = {
            "Description": self.description,
            "CopyTagsFromSource": self.copy_tags_from_source,
            "OutpostArn": self.outpost_arn,
            "Location": self.location,
        }
        return {
            "InstanceSpecification": instance,
            "TagSpecifications": [{"ResourceType": "snapshot", "Tags": tag_list({**self.user_tags, **own})}],
            **{name: value for name, value in optional.items() if value},
        }


# What tells a change of an instance from others.
_CHANGE = ("change_id", "instance_id", "region")


def parse(props: Mapping[str, Any]) -> SetInputs:
    """Return the inputs as a value.

    Raises:
        InputError: the first problem that `check_inputs` finds.
    """
    rules.refuse(check_inputs(props))
    shape = shape_of(props)
    shape["exclude_data_volume_ids"] = tuple(shape["exclude_data_volume_ids"])
    return SetInputs(**shape, scope=props.get("scope") or "")


def shape_of(props: Mapping[str, Any]) -> dict[str, Any]:
    """Return every input whose change means a new set, with defaults filled in and lists in order."""
    shape = {key: one.default if _is_left_out(key, props.get(key)) else props[key] for key, one in INPUTS.items()}
    if isinstance(shape["exclude_data_volume_ids"], (list, tuple)):
        shape["exclude_data_volume_ids"] = sorted(shape["exclude_data_volume_ids"], key=str)
    shape["triggers"] = _as_written(shape["triggers"])
    return shape


def find_changes(olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[str]:
    """Return the names of the inputs whose difference means a new set, now or once they are known.

    None if both are for the same change of the same instance: that change has its set, whatever else differs.
    """
    return [] if is_same_change(olds, news) else find_differences(olds, news)


def find_differences(olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[str]:
    """Return the names of the shaping inputs that differ, or may differ since they are not yet known."""
    old, new = shape_of(olds), shape_of(news)
    # As JSON, since Python takes true for 1.
    texts = {key: [json.dumps(shape[key], sort_keys=True, default=str) for shape in (old, new)] for key in INPUTS}
    return [key for key, (before, after) in texts.items() if before != after or has_unknown(new[key])]


def is_same_change(olds: Mapping[str, Any], news: Mapping[str, Any]) -> bool:
    """Tell whether both inputs name the same change, of the same instance."""
    return bool(news.get("change_id")) and all(olds.get(name) == news.get(name) for name in _CHANGE)


def check_inputs(props: Mapping[str, Any]) -> list[Problem]:
    """Return everything that is wrong with the inputs as far as they are known, by property."""
    found: list[Problem] = []
    for name, one in INPUTS.items():
        value = props.get(name)
        if value == UNKNOWN or (_is_left_out(name, value) and name != "instance_id"):
            continue
        if reason := one.rule(value):
            found.append(Problem(property=name, reason=reason))
    places = [props.get("outpost_arn"), props.get("location")]
    if all(places) and not has_unknown(places):
        reason = "the set is stored on an Outpost, or in a Region or a Local Zone: give one of the two"
        found.append(Problem(property="location", reason=reason))
    return found


def _is_left_out(name: str, value: Any) -> bool:
    # An empty string is a trigger like any other, and no Region.
    return value is None if name in ("triggers", "region") else rules.is_unset(value)


def _as_written(value: Any) -> Any:
    # Pulumi carries every number as a float; the same trigger must give the same token before and after.
    if isinstance(value, Mapping):
        return {key: _as_written(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_written(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _description(value: Any) -> str | None:
    if isinstance(value, str) and len(value) > MAX_DESCRIPTION:
        return f"it has {len(value)} characters; AWS takes at most {MAX_DESCRIPTION}"
    return rules.string(value)


def _wanted_tags(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return f"{value!r} is not a map of tags"
    for key, text in value.items():
        if not key or not isinstance(text, str):
            return f"{key!r}: {text!r} is not a tag: a key and a string"
    return None


def _exclusions(value: Any) -> str | None:
    if not isinstance(value, (list, tuple)):
        return f"{value!r} is not a list of volume ids"
    if len(value) > MAX_EXCLUSIONS:
        return f"{len(value)} exclusions are too many; AWS takes at most {MAX_EXCLUSIONS}"
    known = [volume_id for volume_id in value if not has_unknown(volume_id)]
    for volume_id in known:
        if reason := rules.matches(_VOLUME_ID, "a volume id", "vol-0123456789abcdef0")(volume_id):
            return reason
    twice = ", ".join(sorted({volume_id for volume_id in known if known.count(volume_id) > 1}))
    return f"{twice} is listed twice" if twice else None


class Input(NamedTuple):
    """An input whose change means a new set: its rule, its default, and what `snapset backup` calls it."""

    rule: Rule
    default: Any
    option: str


INPUTS: Mapping[str, Input] = {
    "instance_id": Input(rules.instance_id, None, "INSTANCE"),
    "exclude_boot_volume": Input(rules.boolean, False, "--exclude-boot"),
    "exclude_data_volume_ids": Input(_exclusions, [], "--exclude-volume"),
    "exclude_data_volume_tags": Input(_wanted_tags, {}, "--exclude-volume-tag"),
    "description": Input(_description, None, "--description"),
    "tags": Input(tag_rules.tag_map, {}, "--tag"),
    "copy_tags_from_source": Input(rules.one_of("volume"), None, "--copy-tags"),
    "copy_tags_from_instance": Input(rules.boolean, False, "--copy-instance-tags"),
    "outpost_arn": Input(
        rules.matches(
            _OUTPOST_ARN, "an Outpost ARN", "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
        ),
        None,
        "--outpost-arn",
    ),
    "location": Input(rules.one_of("regional", "local"), None, "--location"),
    "region": Input(rules.region, None, "--region"),
    # Only stacks have triggers.
    "triggers": Input(lambda _: None, None, ""),
    "change_id": Input(rules.change_id, None, "--change-id"),
}
OPTIONS = {name: one.option for name, one in INPUTS.items()}
