"""`SnapshotSet`: the dynamic resource, its inputs and its outputs. Most programs use `InstanceSnapshots` instead."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource

from snapset.resources.aws_provider import find_provider, inputs_of
from snapset.resources.snapshot_set_provider import SnapshotSetProvider


class SnapshotSet(Resource, module="snapset", name="SnapshotSet"):
    """One crash-consistent set of snapshots of an instance's volumes, taken by one CreateSnapshots call.

    Create-only: a change of anything that shaped the set replaces it. The resource id is the set's id.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html

    Attributes:
        set_id: `set-` and 17 hex digits.
        snapshot_ids: the root volume's snapshot first, then in the order of the devices.
        snapshots: one record a snapshot, in the same order.
        region: where the set is.
        owner_id: the AWS account that owns it.
        start_time: ISO 8601 UTC; the same for the whole set.
        claim: the mark that the set carries once the state holds it.
        outcome: `created`, or `adopted` from an earlier run that could not record it.
    """

    set_id: pulumi.Output[str]
    snapshot_ids: pulumi.Output[list[str]]
    snapshots: pulumi.Output[list[dict[str, Any]]]
    region: pulumi.Output[str]
    owner_id: pulumi.Output[str]
    start_time: pulumi.Output[str]
    claim: pulumi.Output[str]
    outcome: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        instance_id: pulumi.Input[str],
        exclude_boot_volume: pulumi.Input[bool] | None = None,
        exclude_data_volume_ids: pulumi.Input[list[pulumi.Input[str]]] | None = None,
        description: pulumi.Input[str] | None = None,
        tags: pulumi.Input[dict[str, pulumi.Input[str]]] | None = None,
        copy_tags_from_source: pulumi.Input[str] | None = None,
        outpost_arn: pulumi.Input[str] | None = None,
        location: pulumi.Input[str] | None = None,
        region: pulumi.Input[str] | None = None,
        triggers: Any = None,
        change_id: pulumi.Input[str] | None = None,
        on_delete: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the set.

        Args:
            name: the resource's name.
            instance_id: the instance whose volumes are snapshotted.
            exclude_boot_volume: leave the root volume out.
            exclude_data_volume_ids: data volumes to leave out, at most 40.
            description: for every snapshot, at most 255 characters.
            tags: for every snapshot, at most 40.
            copy_tags_from_source: `volume` copies each volume's own tags to its snapshot.
            outpost_arn: the instance's Outpost, to store the snapshots there instead of in its Region.
            location: `regional` or `local`, for an instance in a Local Zone.
            region: where the instance runs; the stack's `aws:region` if left out.
            triggers: any value; a change of it means a new set.
            change_id: the change that the set is for, such as a commit: while it stays the same, the set is kept
                whatever else changes; another one means a new set. In the tag `snapset:change`.
            on_delete: `retain` (default) or `delete` the snapshots when the resource goes.
            opts: Pulumi's resource options; the calls follow an `aws.Provider` in them, or in the parent's.
        """
        inputs = {
            "scope": f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}/{name}",
            "instance_id": instance_id,
            "exclude_boot_volume": exclude_boot_volume,
            "exclude_data_volume_ids": exclude_data_volume_ids,
            "description": description,
            "tags": tags,
            "copy_tags_from_source": copy_tags_from_source,
            "outpost_arn": outpost_arn,
            "location": location,
            "region": region,
            "triggers": triggers,
            "change_id": change_id,
            "on_delete": on_delete or "retain",
            "aws": inputs_of(find_provider(opts)),
            # For the check of the inputs only: it is no part of them.
            "previews": pulumi.runtime.is_dry_run(),
        }
        # Pulumi tracks each property on its own, for as long as the program runs.
        given = {key: value for key, value in inputs.items() if value is not None}
        outputs = ("set_id", "snapshot_ids", "snapshots", "region", "owner_id", "start_time", "claim", "outcome")
        super().__init__(SnapshotSetProvider(), name, {**dict.fromkeys(outputs), **given}, opts)
