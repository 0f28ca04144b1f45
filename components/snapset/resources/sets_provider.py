"""`SetsProvider`: what the dynamic providers of one set and of a fleet's have in common: above all, what stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import pulumi
from pulumi.dynamic import CheckResult, ConfigureRequest
from typing_extensions import TypedDict

from snapset.resources.aws_provider import find_provider, inputs_of
from snapset.resources.context import (
    end_quietly_on_interrupt,
    plain,
    refuse_unknown,
    scope_of,
    secrets_among,
    sets_in_use,
)
from snapset.resources.provider_base import SnapsetProvider, say
from snapset.rules import Problem
from snapset.sets import inputs as set_inputs
from snapset.sets import model
from snapset.sets.claim import delete_set
from snapset.sets.create import Taken
from snapset.sets.inputs import SetInputs

# Inputs whose change calls nothing.
BEHAVIOUR = ("on_delete", "aws")


class SetsProvider(SnapsetProvider):
    """Knows, for the whole run, what the program says of the sets that resources hold or let go of."""

    def configure(self, req: ConfigureRequest) -> None:
        """Read the stack's `aws` config. Runs once, in the provider's own process only."""
        super().configure(req)
        # `delete` sees the old state only. What the program says now: by the resource's id, as diff() has it, and by
        # scope, the present one and the last, since a forced replacement calls no diff().
        self._on_delete: dict[str, str] = {}
        # The sets that this run adopted.
        self._adopted: set[str] = set()
        # The sets that the program restores from.
        self._in_use: set[str] = set()
        self._is_preview = False

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Refuse bad inputs, and inputs that do not fit what EC2 has now."""
        for known_by in {news["scope"], olds.get("scope", news["scope"])}:
            self._on_delete[known_by] = news["on_delete"]
        self._is_preview = news["is_preview"] is True
        result = super().check(olds, news)
        del result.inputs["is_preview"]
        self._in_use |= set(result.inputs.pop("sets_in_use", ()))
        return result

    def _inputs_of(self, props: Mapping[str, Any]) -> SetInputs:
        return replace(set_inputs.parse(props), default_tags=self._settings_of(props).default_tags)

    def _find_problems(self, news: Mapping[str, Any]) -> list[Problem]:
        given = news.get("tags") or {}
        if isinstance(given, Mapping):
            # All of them have to fit on a snapshot.
            news = {**news, "tags": {**self._settings_of(news).default_tags, **given}}
        return set_inputs.find_problems(news)

    def _why_retained(self, id_: str, props: Mapping[str, Any]) -> str | None:
        """Return why sets stay that a resource lets go of; None if the state and the program say `delete`."""
        words = [self._on_delete[known_by] for known_by in (id_, props["scope"]) if known_by in self._on_delete]
        if "retain" in (props["on_delete"], *words[:1]):
            return "on_delete is retain"
        if not words and "retain" in self._on_delete.values():
            # The resource has left the program; or it was renamed, and was forced to be replaced, or failed to be
            # deleted before. Nothing tells which.
            return "the program may have its resource under another name, and retains sets"
        return None

    def _let_go(self, record: Mapping[str, Any], props: Mapping[str, Any], *, why_retained: str | None) -> None:
        """Delete a set that its resource lets go of, if nothing speaks against it; else say that it stays, and why.

        Args:
            record: the outputs that describe the set.
            props: the resource's.
            why_retained: see `_why_retained`.
        """
        set_id, snapshot_ids = record["set_id"], record["snapshot_ids"]
        if set_id in self._adopted:
            # A forced replacement may adopt the very set that the old resource holds, if that was never claimed.
            say(f"{set_id} stays: the resource that replaces this one has adopted it")
        elif record.get("deletable") is False:
            say(f"{set_id} stays: the run that took it said that it is to be retained")
        elif why_retained:
            say(f"{set_id} stays: {', '.join(snapshot_ids)} ({why_retained})")
        elif set_id in self._in_use:
            say(f"{set_id} stays: the program restores from it")
        elif others := delete_set(
            self._ec2(props), snapshot_ids, set_id=set_id, claim=props["claim"], retry=self._retry
        ):
            say(f"{set_id} stays: another resource has claimed {', '.join(others)}")


class SetArgs(TypedDict, total=False):
    """What shapes a set, and what happens to it: the inputs that all resources that take sets have in common."""

    exclude_boot_volume: pulumi.Input[bool] | None
    """Leave the root volume out."""
    exclude_data_volume_ids: pulumi.Input[Sequence[pulumi.Input[str]]] | None
    """Data volumes to leave out, at most 40."""
    exclude_data_volume_tags: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None
    """Leave out the data volumes that have one of these tags when the set is taken."""
    description: pulumi.Input[str] | None
    """For every snapshot, at most 255 characters."""
    tags: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None
    """For every snapshot, at most 35; `aws:` and `snapset:` keys are reserved."""
    copy_tags_from_source: pulumi.Input[Literal["volume"]] | None
    """`volume` copies each volume's own tags to its snapshot."""
    copy_tags_from_instance: pulumi.Input[bool] | None
    """Put the tags that the instance has when the set is taken on every snapshot; `tags` win."""
    outpost_arn: pulumi.Input[str] | None
    """The instance's Outpost, to store the snapshots there instead of in its Region."""
    location: pulumi.Input[Literal["regional", "local"]] | None
    """Where the snapshots of an instance in a Local Zone are stored."""
    region: pulumi.Input[str] | None
    """Where the instance runs; its own Region, or the stack's `aws:region`, if left out."""
    triggers: Any
    """Any value; a change of it means a new set."""
    change_id: pulumi.Input[str] | None
    """The change that the set is for, such as a commit: while it stays the same, the set is kept, whatever else
    changes; another one means a new set. In the tag `snapset:change`."""
    on_delete: pulumi.Input[Literal["retain", "delete"]] | None
    """`retain` (default) or `delete` the snapshots when the resource is replaced or deleted."""


def declared(
    given: Mapping[str, Any],
    args: type,
    *,
    outputs: Sequence[str],
    of: str,
    name: str,
    type_: str,
    opts: pulumi.ResourceOptions | None,
) -> dict[str, Any]:
    """Return the properties with which a resource that takes sets is declared.

    Args:
        given: the inputs, as the program has them.
        args: the TypedDict that has all of them.
        outputs: the names of the outputs.
        of: the resource's class, for messages.
        name: the resource's name.
        type_: its Pulumi type.
        opts: Pulumi's resource options.

    Raises:
        RunError: an input's name is unknown, or a value can't be kept in the state.
    """
    refuse_unknown(given, args, of=of)
    end_quietly_on_interrupt()
    # Pulumi tracks each property on its own, for as long as the program runs: what is left out is not passed.
    checked = {key: plain(value, name=key) for key, value in given.items() if value is not None}
    return {
        **dict.fromkeys(outputs),
        **checked,
        "scope": scope_of(name, type_, opts),
        "on_delete": given.get("on_delete") or "retain",
        "aws": inputs_of(find_provider(opts)),
        # For check(), which can't know them otherwise, and takes them out again.
        "is_preview": pulumi.runtime.is_dry_run(),
        "sets_in_use": sets_in_use(),
        "secrets": secrets_among(given),
    }


def record_of(taken: Taken) -> dict[str, Any]:
    """Return the outputs that describe a set."""
    found = taken.set
    return {
        "set_id": found.set_id,
        "instance_id": found.instance_id,
        "snapshot_ids": found.snapshot_ids,
        "snapshots": found.records(),
        "count": found.count,
        "owner_id": found.snapshots[0].owner_id,
        "start_time": found.start_time,
        "outcome": taken.outcome,
        "deletable": taken.outcome == "created" or found.is_deletable,
    }


def set_of(props: Mapping[str, Any]) -> model.SnapshotSet:
    """Return the set that a resource's outputs describe."""
    return model.SnapshotSet.recorded(
        props["snapshots"],
        set_id=props["set_id"],
        instance_id=props["instance_id"],
        # Pulumi carries every number as a float; a mock leaves it out.
        count=int(props["count"] or len(props["snapshots"])),
    )
