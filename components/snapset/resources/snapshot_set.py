"""`SnapshotSet`: the dynamic resource of one set, and its provider. Most programs use `InstanceSnapshots` instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult
from typing_extensions import Required, Unpack

from snapset import errors
from snapset.resources.engine_watch import engine_is_there
from snapset.resources.provider_base import SetsProvider, adopted_here, for_engine, is_sound, say, with_sentinels
from snapset.resources.set_args import SetArgs, resource_properties
from snapset.resources.set_state import state_of
from snapset.rules import Problem
from snapset.sets import inputs as set_inputs
from snapset.sets import preflight, tags
from snapset.sets.take import take_set

TYPE = "pulumi-python:dynamic/snapset:SnapshotSet"

_OUTPUTS = (
    "set_id",
    "snapshot_ids",
    "snapshots",
    "count",
    "region",
    "owner_id",
    "start_time",
    "claim",
    "outcome",
    "change_id",
)


class SnapshotSetProvider(SetsProvider):
    """Check, diff, create, read, update and delete of one snapshot set. Nothing here waits for it to complete."""

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Replace the set if anything that shaped it changed, or if the resource has no whole set of its own."""
        olds, news = with_sentinels(olds), with_sentinels(news)
        replaces = set_inputs.find_changes(olds, news)
        if ignored := not replaces and set_inputs.find_differences(olds, news):
            say(f"{id_} was taken for the same change, with another {', '.join(ignored)}: it stays as it is")
        if not is_sound(olds):
            replaces.append("snapshots")
        if self._find_shared([olds], olds):
            replaces.append("claim")
        changed = olds.get("aws") != news.get("aws")
        return DiffResult(changes=bool(replaces) or changed, replaces=replaces, delete_before_replace=False)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Adopt or create the set: one short transaction."""
        with for_engine():
            taken = take_set(self._ec2(props), self._inputs_of(props), still_wanted=engine_is_there)
        if taken.outcome == "adopted":
            adopted_here.add(taken.set.set_id)
        return CreateResult(taken.set.set_id, {**props, **state_of(taken), "claim": tags.new_claim()})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Refresh the states; snapshots that no longer exist are left out, and without any the set is gone."""
        with for_engine():
            if not props.get("set_id"):
                raise errors.InputError(
                    f"importing {id_}: a set can't be imported, it is taken. `get_snapshots` and `snapset restore` "
                    "take the id of any set."
                )
            refreshed = self._refresh([props], props)
        return ReadResult(id_, refreshed[id_]) if id_ in refreshed else ReadResult("", {})

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Take over a changed provider. Calls nothing."""
        return UpdateResult({**olds, "aws": news.get("aws")})

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        """Say that the set stays. Calls nothing, and deletes nothing."""
        if id_ in adopted_here:
            say(f"{id_} of {props['instance_id']} stays: the resource that comes in its place has adopted it")
            return
        command = f"snapset delete {id_} --region {props['region']}"
        say(f"{id_} of {props['instance_id']} stays in AWS. To delete it: {command}")

    def _check_against_ec2(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[Problem]:
        if not set_inputs.find_changes(olds, news):
            return []
        return preflight.check_against_ec2(self._ec2(news), self._inputs_of(news))


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
    change_id: pulumi.Output[str | None]
    """The change that it was taken for."""

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
        props = resource_properties(
            inputs, SnapshotSetArgs, outputs=_OUTPUTS, of=type(self).__name__, name=name, type_=TYPE, opts=opts
        )
        super().__init__(SnapshotSetProvider(), name, props, opts)
