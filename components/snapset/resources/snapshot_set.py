"""`SnapshotSet`: the dynamic resource of one set, and its provider. Most programs use `InstanceSnapshots` instead."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import pulumi
from pulumi.dynamic import (
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    UpdateResult,
)
from typing_extensions import Required, TypedDict, Unpack

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import ERROR
from snapset.resources.aws_provider import find_provider, inputs_of
from snapset.resources.context import (
    end_quietly_on_interrupt,
    plain,
    refuse_unknown,
    scope_of,
    secrets_among,
    sets_in_use,
)
from snapset.resources.engine_watch import engine_is_there
from snapset.resources.provider_base import SnapsetProvider, one_line_errors, say, with_sentinels
from snapset.rules import Problem
from snapset.sets import inputs as set_inputs
from snapset.sets import model, preflight, tags
from snapset.sets.claim import announce_claim, delete_set, find_other_claims
from snapset.sets.create import create_set
from snapset.sets.inputs import SetInputs

TYPE = "pulumi-python:dynamic/snapset:SnapshotSet"

# Inputs whose change calls nothing.
BEHAVIOUR = ("on_delete", "aws")

# Set in the engine's environment where the state says that a run was cut off while it took a set.
CUT_OFF = "SNAPSET_CUT_OFF"


class SnapshotSetProvider(SnapsetProvider):
    """Check, diff, create, read, update and delete of one snapshot set. Nothing here waits for it to complete."""

    def configure(self, req: ConfigureRequest) -> None:
        """Read the stack's `aws` config. Runs once, in the provider's own process only."""
        super().configure(req)
        # `delete` sees the old state only. What the program says now: by the id of the set that a resource holds, as
        # diff() has it, and by scope, since a forced replacement calls no diff().
        self._on_delete: dict[str, str] = {}
        # The instances of which this run took a set that is to stay, and the sets that it adopted.
        self._retained: set[str] = set()
        self._adopted: set[str] = set()
        # The sets that the program restores from.
        self._in_use: set[str] = set()

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Refuse bad inputs, and inputs that do not fit the instance as it is now."""
        self._on_delete[news["scope"]] = news["on_delete"]
        result = super().check(olds, news)
        del result.inputs["is_preview"]
        self._in_use |= set(result.inputs.pop("sets_in_use", ()))
        return result

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Replace the set if anything that shaped it changed, or if the resource has no whole set of its own."""
        olds, news = with_sentinels(olds), with_sentinels(news)
        self._on_delete[id_] = news["on_delete"]
        replaces = set_inputs.find_changes(olds, news)
        if ignored := not replaces and set_inputs.find_differences(olds, news):
            say(f"change {news['change_id']} was served with another {', '.join(ignored)}: {id_} stays as it is")
        recorded = set_of(olds)
        if recorded.state == ERROR or not recorded.is_whole:
            replaces.append("snapshots")
        if olds["outcome"] == "adopted" and self._is_shared(olds):
            say(f"{id_}: another resource has claimed this set, too: a new one takes its place")
            replaces.append("claim")
        changed = any(olds.get(name) != news.get(name) for name in BEHAVIOUR)
        return DiffResult(changes=bool(replaces) or changed, replaces=replaces, delete_before_replace=False)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Adopt or create the set: one short transaction."""
        claim = tags.new_claim()
        with one_line_errors():
            default_tags = self._settings_of(props).default_tags
            ec2 = self._ec2(props)
            inputs, volumes = self._look(ec2, replace(set_inputs.parse(props), default_tags=default_tags))
            taken = create_set(
                ec2,
                inputs,
                volumes=volumes,
                retry=self._retry,
                still_wanted=engine_is_there,
                cut_off=bool(os.environ.get(CUT_OFF)),
            )
            if taken.outcome == "adopted":
                self._adopted.add(taken.set.set_id)
                announce_claim(ec2, taken.set, claim=claim, retry=self._retry)
        if props["on_delete"] == "retain":
            self._retained.add(inputs.instance_id)
        outputs = {
            "set_id": taken.set.set_id,
            "snapshot_ids": taken.set.snapshot_ids,
            "snapshots": taken.set.records(),
            "count": taken.set.count,
            "owner_id": taken.set.snapshots[0].owner_id,
            "start_time": taken.set.start_time,
            "claim": claim,
            "outcome": taken.outcome,
            "deletable": taken.outcome == "created" or taken.set.is_deletable,
        }
        return CreateResult(taken.set.set_id, {**props, **outputs})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Refresh the states; snapshots that no longer exist are left out, and without any the set is gone."""
        with one_line_errors():
            if not props.get("set_id"):
                raise errors.InputError(
                    f"importing {id_}: a set can't be imported, it is taken. `RestoredVolumes` and `snapset restore` "
                    "take the id of any set."
                )
            recorded = set_of(props)
            found = recorded.as_seen(self._ec2(props).describe_snapshots(recorded.snapshot_ids))
        gone = [snapshot_id for snapshot_id in recorded.snapshot_ids if snapshot_id not in found.snapshot_ids]
        if gone and self._retry.may_be_invisible(recorded.age):
            return ReadResult(id_, props)
        if gone:
            say(f"{id_}: {', '.join(gone)} no longer exist{'s' if len(gone) == 1 else ''}")
        if not found.snapshots:
            return ReadResult("", {})
        return ReadResult(id_, {**props, "snapshots": found.records(), "snapshot_ids": found.snapshot_ids})

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Take over a changed behaviour input. Calls nothing."""
        kept = {name: value for name, value in olds.items() if name not in BEHAVIOUR}
        return UpdateResult({**kept, **{name: news[name] for name in BEHAVIOUR if name in news}})

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        """Delete the snapshots if `on_delete` says so; else say which set stays."""
        if id_ in self._adopted:
            # A forced replacement may adopt the very set that the old resource holds, if that was never claimed.
            say(f"{id_} stays: the resource that replaces this one has adopted it")
            return
        if props.get("deletable") is False:
            say(f"{id_} stays: the run that took it said that it is to be retained")
            return
        if {props["on_delete"], self._present_word(id_, props)} != {"delete"}:
            say(f"{id_} stays: {', '.join(props['snapshot_ids'])} (on_delete is retain)")
            return
        if id_ in self._in_use:
            say(f"{id_} stays: the program restores from it")
            return
        with one_line_errors():
            ec2, claim = self._ec2(props), props["claim"]
            others = delete_set(ec2, props["snapshot_ids"], set_id=id_, claim=claim, retry=self._retry)
        if others:
            say(f"{id_} stays: another resource has claimed {', '.join(others)}")

    def _find_problems(self, news: Mapping[str, Any]) -> list[Problem]:
        given = news.get("tags") or {}
        if isinstance(given, Mapping):
            # All of them have to fit on a snapshot.
            news = {**news, "tags": {**self._settings_of(news).default_tags, **given}}
        return set_inputs.find_problems(news)

    def _present_word(self, id_: str, props: Mapping[str, Any]) -> str:
        """Return what the program says now of the set that it lets go of, whatever it asked for before."""
        for known_by in (id_, props["scope"]):
            if known_by in self._on_delete:
                return self._on_delete[known_by]
        # The resource has left the program; or it was renamed, and a forced replacement does not say which it was.
        return "retain" if props["instance_id"] in self._retained else "delete"

    def _is_shared(self, olds: Mapping[str, Any]) -> bool:
        """Tell whether another resource holds the adopted set, too; as far as that can be seen now."""
        try:
            return bool(find_other_claims(self._ec2(olds), olds["snapshot_ids"], claim=olds["claim"]))
        except errors.SnapsetError as error:
            say(f"warning: {olds['set_id']}: whether another resource has claimed it is not known: {error}")
            return False

    def _find_obstacles(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[Problem]:
        if not set_inputs.find_changes(olds, news):
            return []
        # A dry run counts against the rate limit of CreateSnapshots; without a preview the call itself follows.
        ec2, dry_run = self._ec2(news), news["is_preview"]
        return preflight.find_problems(ec2, set_inputs.parse(news), dry_run=dry_run, retry=self._retry)

    def _look(self, ec2: Ec2, inputs: SetInputs) -> tuple[SetInputs, dict[str, str] | None]:
        """Return the inputs with what the instance adds, and the volumes of the set, each with its device.

        The volumes are None if they can't be known.
        """
        instance_id = inputs.instance_id
        try:
            instance = ec2.recall_instance(instance_id) or self._retry.while_throttled(
                lambda: ec2.describe_instance(instance_id), doing=f"describing instance {instance_id}"
            )
            inputs = self._retry.while_throttled(
                lambda: preflight.resolve(ec2, inputs, instance), doing=f"describing the volumes of {instance_id}"
            )
            return inputs, preflight.volumes_of(inputs, instance) or None
        except errors.NotPermittedError as error:
            if inputs.needs_instance:
                raise
            say(f"warning: {instance_id}: the snapshots' devices are not recorded: {error}")
            return inputs, None


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


class SnapshotSetArgs(SetArgs, total=False):
    """The inputs of `SnapshotSet`."""

    instance_id: Required[pulumi.Input[str]]
    """The instance whose volumes are snapshotted."""


class SnapshotSet(Resource, module="snapset", name="SnapshotSet"):
    """One crash-consistent set of snapshots of an instance's volumes, taken by one CreateSnapshots call.

    Create-only: a change of anything that shaped the set replaces it. The resource id is the set's id.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html
    """

    set_id: pulumi.Output[str]
    """`set-` and 17 hex digits."""
    instance_id: pulumi.Output[str]
    """The instance that it was taken of."""
    snapshot_ids: pulumi.Output[list[str]]
    """The root volume's snapshot first, then by device."""
    # Pulumi reads the annotation, and does not know what a TypedDict is.
    snapshots: pulumi.Output[list[dict[str, Any]]]
    """One `SnapshotRecord` a snapshot, in the same order, as the state has it."""
    region: pulumi.Output[str]
    """Where the set is."""
    owner_id: pulumi.Output[str]
    """The AWS account that owns it."""
    start_time: pulumi.Output[str]
    """ISO 8601 UTC; the same for the whole set."""
    claim: pulumi.Output[str]
    """The tag value that the set bears once the state holds it."""
    outcome: pulumi.Output[str]
    """`created`, or `adopted` from an earlier run that could not record it."""
    count: pulumi.Output[int]
    """How many snapshots it was taken with."""

    def __init__(
        self, name: str, opts: pulumi.ResourceOptions | None = None, **inputs: Unpack[SnapshotSetArgs]
    ) -> None:
        """Declare the set.

        Args:
            name: the resource's name.
            opts: Pulumi's resource options; the calls follow an `aws.Provider` in them, or in the parent's.
            inputs: see `SnapshotSetArgs`.

        Raises:
            RunError: an input's name is unknown.
        """
        refuse_unknown(inputs, SnapshotSetArgs, of=type(self).__name__)
        end_quietly_on_interrupt()
        checked = {key: plain(value, name=key) for key, value in inputs.items()}
        more = {
            "scope": scope_of(name, TYPE, opts),
            "on_delete": inputs.get("on_delete") or "retain",
            "aws": inputs_of(find_provider(opts)),
            # For check(), which can't know them otherwise, and takes them out again.
            "is_preview": pulumi.runtime.is_dry_run(),
            "sets_in_use": sets_in_use(),
            "secrets": secrets_among(inputs),
        }
        # Pulumi tracks each property on its own, for as long as the program runs.
        given = {key: value for key, value in {**checked, **more}.items() if value is not None}
        outputs = (
            "set_id",
            "snapshot_ids",
            "snapshots",
            "count",
            "region",
            "owner_id",
            "start_time",
            "claim",
            "outcome",
        )
        super().__init__(SnapshotSetProvider(), name, {**dict.fromkeys(outputs), **given}, opts)


def set_of(props: Mapping[str, Any]) -> model.SnapshotSet:
    """Return the set that a resource's outputs describe."""
    return model.SnapshotSet.recorded(
        props["snapshots"],
        set_id=props["set_id"],
        instance_id=props["instance_id"],
        # Pulumi carries every number as a float; a mock leaves it out.
        count=int(props["count"] or len(props["snapshots"])),
    )
