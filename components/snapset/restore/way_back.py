"""The commands that go back to a set. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from snapset.aws.records import InstanceFacts

if TYPE_CHECKING:
    from snapset.sets.model import SnapshotSet


def rollback_command(instance_id: str, set_id: str, *, region: str | None, to: str = "") -> str:
    """Return the command that puts the set's volumes on the instance `to`, else on the one that it was taken of."""
    target = f"{to} --of {instance_id}" if to else instance_id
    where = f" --region {region}" if region else ""
    return f"snapset rollback {target} --set {set_id}{where}"


def commands_for_gone(found: SnapshotSet, *, region: str) -> list[str]:
    """Return the commands that launch an instance as the set's was, and put the set's volumes on it."""
    launch = shlex.join(["aws", "ec2", "run-instances", "--region", region, *_launch_options(found)])
    return [
        f"NEW=$({launch} --query 'Instances[0].InstanceId' --output text)",
        rollback_command(found.instance_id, found.set_id, region=region, to='"$NEW"'),
    ]


def _launch_options(found: SnapshotSet) -> Iterator[str]:
    """Yield the options of `aws ec2 run-instances`, as far as it is recorded what the instance was."""
    was = found.was or InstanceFacts()
    # AWS's own name of a missing image makes the command fail, and shows what has to be filled in.
    yield from ("--image-id", was.image_id or "AMI")
    if was.instance_type:
        yield from ("--instance-type", was.instance_type)
    if was.subnet_id:
        yield from ("--subnet-id", was.subnet_id)
    if was.security_group_ids:
        yield from ("--security-group-ids", *was.security_group_ids)
