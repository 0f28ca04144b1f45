"""`SnapshotSet`: the dynamic resource of one set, and its provider. Most programs use `InstanceSnapshots` instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult
from typing_extensions import Required, Unpack

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import ERROR
from snapset.resources.engine_watch import engine_is_there
from snapset.resources.provider_base import one_line_errors, say, with_sentinels
from snapset.resources.sets_provider import BEHAVIOUR, SetArgs, SetsProvider, declared, record_of, set_of
from snapset.rules import Problem
from snapset.sets import inputs as set_inputs
from snapset.sets import preflight, tags
from snapset.sets.claim import announce_claim, find_other_claims
from snapset.sets.create import create_set
from snapset.sets.inputs import SetInputs

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
)


class SnapshotSetProvider(SetsProvider):
    """Check, diff, create, read, update and delete of one snapshot set. Nothing here waits for it to complete."""

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
            ec2 = self._ec2(props)
            inputs, volumes = self._look(ec2, self._inputs_of(props))
            taken = create_set(ec2, inputs, volumes=volumes, retry=self._retry, still_wanted=engine_is_there)
            if taken.outcome == "adopted":
                self._adopted.add(taken.set.set_id)
                announce_claim(ec2, [taken.set], claim=claim, retry=self._retry)
        return CreateResult(taken.set.set_id, {**props, **record_of(taken), "claim": claim})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Refresh the states; snapshots that no longer exist are left out, and without any the set is gone."""
        with one_line_errors():
            if not props.get("set_id"):
                raise errors.InputError(
                    f"importing {id_}: a set can't be imported, it is taken. `get_snapshots` and `snapset restore` "
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
        with one_line_errors():
            self._let_go(props, props, why_retained=self._why_retained(id_, props))

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
        return preflight.find_problems(
            self._ec2(news), set_inputs.parse(news), dry_run=self._is_preview, retry=self._retry
        )

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
                lambda: preflight.resolve(inputs, instance, describe=ec2.describe_volumes),
                doing=f"describing the volumes of {instance_id}",
            )
            return inputs, preflight.volumes_of(inputs, instance) or None
        except errors.NotPermittedError as error:
            if inputs.needs_instance:
                raise
            say(f"warning: {instance_id}: the snapshots' devices are not recorded: {error}")
            return inputs, None


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
        props = declared(
            inputs, SnapshotSetArgs, outputs=_OUTPUTS, of=type(self).__name__, name=name, type_=TYPE, opts=opts
        )
        super().__init__(SnapshotSetProvider(), name, props, opts)
