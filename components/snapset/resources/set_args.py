"""The inputs that `SnapshotSet` and `FleetSet` have in common, and the properties that they are declared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pulumi
from typing_extensions import TypedDict

from snapset.resources.arguments import check_storable, refuse_unknown, scope_of, secrets_among
from snapset.resources.aws_provider import find_provider, inputs_of
from snapset.resources.program import end_quietly_on_interrupt


class SetArgs(TypedDict, total=False):
    """What shapes a set: the inputs that all resources that take sets have in common."""

    exclude_boot_volume: pulumi.Input[bool] | None
    """Leave the root volume out."""
    exclude_data_volume_ids: pulumi.Input[Sequence[pulumi.Input[str]]] | None
    """Data volumes to leave out, at most 40."""
    exclude_data_volume_tags: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None
    """Leave out the data volumes that have one of these tags when the set is taken."""
    description: pulumi.Input[str] | None
    """For every snapshot, at most 255 characters."""
    tags: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None
    """For every snapshot, at most 25; `aws:` and `snapset:` keys are reserved."""
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


def resource_properties(
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
    refuse_unknown(given, args, of=f"{of} {name}")
    end_quietly_on_interrupt()
    # Pulumi tracks each property on its own, for as long as the program runs: what is left out is not passed.
    checked = {
        key: check_storable(value, of=f"{of} {name}: {key}") for key, value in given.items() if value is not None
    }
    return {
        **dict.fromkeys(outputs),
        **checked,
        "scope": scope_of(name, type_, opts),
        "aws": inputs_of(find_provider(opts)),
        # For check(), which can't know them otherwise, and takes them out again.
        "is_preview": pulumi.runtime.is_dry_run(),
        "secrets": secrets_among(given),
    }
