"""What the program does once the state holds a set: claim it, and wait for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pulumi

from snapset import errors
from snapset.aws.ec2 import connect
from snapset.aws.records import COMPLETED
from snapset.resources.aws_provider import provider_of, settings_of
from snapset.resources.program import is_mocked, say_in_program, waiting
from snapset.resources.set_state import status_from_state
from snapset.resources.snapshot_set import SnapshotSet
from snapset.sets.finish import SetStatus, finish_sets

_OUTPUTS = ("set_id", "instance_id", "snapshots", "count", "region", "claim", "outcome", "start_time", "owner_id")


def claim_and_wait(taken: SnapshotSet, *, wait: bool, timeout: float) -> pulumi.Output[SetStatus]:
    """Claim the set if it is new, and wait for it: until it has completed if `wait` says so, else until it was seen.

    Pulumi writes the state before a resource's outputs resolve in the program, so a set that gets here is recorded.
    In a preview, and in a user's unit test, nothing is called.

    Args:
        taken: the resource.
        wait: wait until every snapshot has completed.
        timeout: for how many seconds.
    """

    async def finish(known: dict[str, Any]) -> SetStatus:
        # Only a mock leaves the snapshots out.
        recorded = status_from_state({**known, "snapshots": known["snapshots"] or []})
        if pulumi.runtime.is_dry_run() or is_mocked():
            return _foresee(recorded, wait=wait)
        [done] = await finish_in_program(taken, [recorded], known, wait=wait, timeout=timeout)
        if done.failure:
            raise pulumi.RunError(errors.show(done.failure))
        return done

    return pulumi.Output.all(**{name: getattr(taken, name) for name in _OUTPUTS}).apply(finish)


async def finish_in_program(
    taken: pulumi.Resource,
    recorded: Sequence[SetStatus],
    known: Mapping[str, Any],
    *,
    wait: bool,
    timeout: float,
    attributes: Mapping[str, str] | None = None,
) -> list[SetStatus]:
    """Claim and wait for the sets of a resource; see `snapset.sets.finish.finish_sets`.

    Args:
        taken: the resource.
        recorded: the sets as its state has them.
        known: its outputs `region` and `claim`.
        wait: wait until they have completed, and not only until they were seen.
        timeout: for how many seconds.
        attributes: how the volumes were, as far as the state has it.

    Raises:
        RunError: EC2 can't be asked for any of them. Shown in one line.
    """
    try:
        settings = (await settings_of(provider_of(taken))).in_region(known["region"])
        with waiting():
            return await finish_sets(
                connect(settings, say=say_in_program(taken, ephemeral=True)),
                recorded,
                claim=known["claim"],
                until="completed" if wait else "seen",
                timeout=timeout,
                attributes=attributes,
                tell=say_in_program(taken),
            )
    except errors.SnapsetError as error:
        raise pulumi.RunError(errors.show(error)) from None


def _foresee(recorded: SetStatus, *, wait: bool) -> SetStatus:
    """Return the set as `pulumi up` will have it."""
    if not wait:
        return recorded
    done = tuple(replace(snapshot, state=COMPLETED) for snapshot in recorded.set.snapshots)
    return replace(recorded, set=replace(recorded.set, snapshots=done))
