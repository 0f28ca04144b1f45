"""`RestoredSet`: the dynamic resource of a set's volumes, and its provider. Most programs use `RestoredVolumes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult
from typing_extensions import Required, TypedDict, Unpack

from snapset import errors
from snapset.resources.aws_provider import find_provider, inputs_of
from snapset.resources.context import (
    end_quietly_on_interrupt,
    note_use,
    plain,
    refuse_unknown,
    scope_of,
    secrets_among,
)
from snapset.resources.provider_base import SnapsetProvider, one_line_errors, say, with_sentinels
from snapset.restore import inputs as restore_inputs
from snapset.restore import plan
from snapset.restore.volumes import VolumeRecord, delete_volumes, restore_set, tag, take_back_tags
from snapset.rules import UNKNOWN, Problem
from snapset.sets import tags

TYPE = "pulumi-python:dynamic/snapset:RestoredSet"


class RestoredSetProvider(SnapsetProvider):
    """Check, diff, create, read, update and delete of the volumes of one set.

    A restore holds one of the process's four threads until its volumes are attached.
    """

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Replace the volumes if anything that shaped them changed; the old ones go first, to free their devices."""
        olds, news = with_sentinels(olds), with_sentinels(news)
        replaces = restore_inputs.find_changes(olds, news)
        # With another scope the resource was renamed, and its volumes have to bear its new name.
        changed = (olds.get("tags") or {}) != (news.get("tags") or {}) or any(
            olds.get(name) != news.get(name) for name in ("aws", "scope")
        )
        return DiffResult(changes=bool(replaces) or changed, replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make the volumes, attach them, and wait until they are."""
        with one_line_errors():
            inputs = restore_inputs.parse(props)
            made = restore_set(self._ec2(props), inputs, retry=self._retry)
        return CreateResult(f"restore-{inputs.token[:17]}", {**props, **_outputs(made)})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Refresh the states; volumes that no longer exist are left out, and without any the restore is gone."""
        with one_line_errors():
            if not props.get("volume_ids"):
                raise errors.InputError(
                    f"importing {id_}: restored volumes can't be imported. Import each as aws.ebs.Volume."
                )
            found = {volume.volume_id: volume for volume in self._ec2(props).describe_volumes(props["volume_ids"])}
        if gone := [volume_id for volume_id in props["volume_ids"] if volume_id not in found]:
            say(f"{id_}: {', '.join(gone)} no longer exist{'s' if len(gone) == 1 else ''}")
        if not found:
            return ReadResult("", {})
        recorded: list[VolumeRecord] = [record for record in props["volumes"] if record["volume_id"] in found]
        for record in recorded:
            volume = found[record["volume_id"]]
            record["state"], record["size_gib"] = volume.state, volume.size_gib
        return ReadResult(id_, {**props, **_outputs(recorded)})

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Change the tags of the volumes, and take over a changed provider, or the name of a renamed resource."""
        before, wanted = olds.get("tags") or {}, news.get("tags") or {}
        added = {**wanted, restore_inputs.RESTORED_FOR: tags.fit(news["scope"])}
        with one_line_errors():
            ec2 = self._ec2(news)
            if wanted != before or news["scope"] != olds["scope"]:
                tag(ec2, olds["volume_ids"], added, retry=self._retry)
            if removed := before.keys() - wanted.keys():
                take_back_tags(ec2, olds["volumes"], removed, retry=self._retry)
        kept = {name: value for name, value in olds.items() if name != "aws"}
        taken_over = {name: value for name, value in news.items() if name in ("aws", "scope")}
        return UpdateResult({**kept, "tags": wanted, **taken_over})

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Detach the volumes, and delete them."""
        with one_line_errors():
            ec2, instance_id = self._ec2(props), props.get("instance_id")
            delete_volumes(ec2, props["volume_ids"], instance_id=instance_id, retry=self._retry)

    def _add_default_tags(self, news: dict[str, Any], default_tags: Mapping[str, str] | None) -> None:
        if default_tags is None:
            news["tags"] = UNKNOWN
        elif isinstance(news.get("tags") or {}, Mapping):
            news["tags"] = {**default_tags, **(news.get("tags") or {})}

    def _find_problems(self, news: Mapping[str, Any]) -> list[Problem]:
        return restore_inputs.find_problems(news)

    def _find_obstacles(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[Problem]:
        if not restore_inputs.find_changes(olds, news):
            return []
        return plan.find_problems(
            self._ec2(news), restore_inputs.parse(news), retry=self._retry, renamed_from=olds.get("scope")
        )


class RestoreArgs(TypedDict, total=False):
    """What shapes restored volumes: the inputs that `RestoredSet` and `RestoredVolumes` have in common."""

    availability_zone: pulumi.Input[str] | None
    """Instead of an instance: where to make the volumes, attached to none."""
    exclude_boot_volume: pulumi.Input[bool] | None
    """Leave the root volume's snapshot out."""
    volume_type: pulumi.Input[Literal["gp3", "gp2", "io2", "io1", "st1", "sc1", "standard"]] | None
    """Of every volume, such as `gp3`; if left out, each is as it was."""
    iops: pulumi.Input[int] | None
    """I/O operations per second of every volume; for `io1`, `io2` and `gp3`; if left out, as it was."""
    throughput: pulumi.Input[int] | None
    """Of every volume, in MiB/s; for `gp3`; if left out, as it was."""
    encrypted: pulumi.Input[bool] | None
    """Encrypt every volume; those of encrypted snapshots are in any case."""
    kms_key_id: pulumi.Input[str] | None
    """The key to encrypt with, which implies `encrypted`; if left out, the snapshot's own."""
    volume_initialization_rate: pulumi.Input[int] | None
    """MiB/s at which AWS loads the data of every volume beforehand: 100 to 300, at a charge."""
    allow_incomplete: pulumi.Input[bool] | None
    """Restore what is left of a set that is not whole."""
    tags: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None
    """For every volume, beside those that it had and that its snapshot has, at most 40."""
    region: pulumi.Input[str] | None
    """Where the set is; the source's Region, or the stack's `aws:region`, if left out."""


class RestoredSetArgs(RestoreArgs, total=False):
    """The inputs of `RestoredSet`."""

    set_id: Required[pulumi.Input[str]]
    """The set."""
    instance_id: pulumi.Input[str] | None
    """The instance to attach the volumes to."""
    devices: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None
    """The snapshots' devices by snapshot id, where their tags lack them."""


class RestoredSet(Resource, module="snapset", name="RestoredSet"):
    """The volumes of one set, attached to an instance or not. Most programs use `RestoredVolumes` instead.

    Create-only but for its tags: any other change replaces the volumes, and the old ones are deleted first.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
    """

    set_id: pulumi.Output[str]
    """The set."""
    volume_ids: pulumi.Output[list[str]]
    """The root volume's first, then by device."""
    # Pulumi reads the annotation, and does not know what a TypedDict is.
    volumes: pulumi.Output[list[dict[str, Any]]]
    """One `VolumeRecord` a volume, in the same order."""
    region: pulumi.Output[str]
    """Where they are."""

    def __init__(
        self, name: str, opts: pulumi.ResourceOptions | None = None, **inputs: Unpack[RestoredSetArgs]
    ) -> None:
        """Declare the volumes.

        Args:
            name: the resource's name.
            opts: Pulumi's resource options; the calls follow an `aws.Provider` in them, or in the parent's.
            inputs: see `RestoredSetArgs`.

        Raises:
            RunError: an input's name is unknown.
        """
        refuse_unknown(inputs, RestoredSetArgs, of=type(self).__name__)
        end_quietly_on_interrupt()
        checked = {key: plain(value, name=key) for key, value in inputs.items()}
        if isinstance(set_id := checked.get("set_id"), str):
            note_use(set_id)
        more = {
            "scope": scope_of(name, TYPE, opts),
            "aws": inputs_of(find_provider(opts)),
            "volume_ids": None,
            "secrets": secrets_among(inputs),
            "volumes": None,
        }
        # A forced replacement calls no diff(), and would find the old volumes in place of new ones.
        first = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(delete_before_replace=True), opts)
        super().__init__(RestoredSetProvider(), name, {"region": None, **checked, **more}, first)


def _outputs(records: Sequence[VolumeRecord]) -> dict[str, Any]:
    return {"volume_ids": [record["volume_id"] for record in records], "volumes": list(records)}
