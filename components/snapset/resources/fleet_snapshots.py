"""`FleetSnapshots`: one set of each of many instances, in one resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from typing_extensions import Required, Unpack

from snapset import errors
from snapset.resources.aws_provider import find_provider
from snapset.resources.claim_and_wait import finish_sets
from snapset.resources.context import gather_inputs, ignored_of, in_one_line, is_mocked
from snapset.resources.fleet_set import FleetSet, known_of
from snapset.resources.instance_snapshots import DEFAULT_TIMEOUT
from snapset.resources.sets_provider import SetArgs, set_of
from snapset.retry import parse_duration
from snapset.sets.model import SetRecord

_SHOWN_FAILURES = 20


class FleetSnapshotsArgs(SetArgs, total=False):
    """The inputs of `FleetSnapshots`."""

    instances: Required[pulumi.Input[Sequence[pulumi.Input[str] | pulumi.CustomResource]]]
    """`aws.ec2.Instance`s, or ids of instances; each gets one set."""
    wait: bool | None
    """Wait until all sets have completed (default), or only until they are taken."""
    wait_timeout: str | None
    """How long to wait, such as `90s`, `30m` or `2h` (default)."""


class FleetSnapshots(pulumi.ComponentResource):
    """A crash-consistent set of snapshots of each of many instances: all in one run, at AWS's own speed.

    An instance that joins gets a set, and one that leaves loses none unless `on_delete` is `delete`. One that can't
    be snapshotted keeps none of the others from theirs: `pulumi up` records what was taken, names what was not, and
    fails; the next `up` takes what is missing.
    """

    sets: pulumi.Output[dict[str, SetRecord]]
    """The record of each set, by the id of its instance, with its state at the end of the run."""
    failures: pulumi.Output[dict[str, str]]
    """Why an instance has no set, by its id."""
    region: pulumi.Output[str]
    """Where they are."""

    @in_one_line
    def __init__(
        self,
        name: str,
        args: FleetSnapshotsArgs | None = None,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[FleetSnapshotsArgs],
    ) -> None:
        """Declare the sets.

        Args:
            name: the resource's name.
            args: the inputs as one value; the same as keywords.
            opts: Pulumi's resource options. The calls follow an `aws.Provider` in them.
            inputs: the inputs as keywords; see `FleetSnapshotsArgs`.

        Raises:
            RunError: an input is unknown or missing, or has a value that none of its kind can have.
        """
        super().__init__("snapset:index:FleetSnapshots", name, {}, opts)
        given = gather_inputs(args, inputs, FleetSnapshotsArgs, of=type(self).__name__, needs="instances")
        instances, wait = given.pop("instances"), given.pop("wait", None)
        if wait not in (None, True, False):
            raise pulumi.RunError("InputError: reading wait: it is neither True nor False.")
        try:
            timeout = parse_duration(given.pop("wait_timeout", None) or DEFAULT_TIMEOUT, name="wait_timeout")
        except errors.InputError as error:
            raise pulumi.RunError(errors.show(error)) from None
        resources = instances if isinstance(instances, (list, tuple)) else []
        self.set: FleetSet = FleetSet(
            name,
            instance_ids=_ids_of(instances),
            **given,
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=find_provider(opts, *resources),
                ignore_changes=ignored_of(opts, instances="instance_ids"),
            ),
        )
        self.region, self.failures = self.set.region, self.set.failures
        self.sets = _finish(self.set, wait=wait is not False, timeout=timeout)
        self.register_outputs({name: getattr(self, name) for name in ("sets", "failures", "region")})


def _ids_of(instances: Any) -> Any:
    if not isinstance(instances, (list, tuple)):
        return instances
    return [item.id if isinstance(item, pulumi.CustomResource) else item for item in instances]


def _finish(taken: FleetSet, *, wait: bool, timeout: float) -> pulumi.Output[dict[str, SetRecord]]:
    """Claim the sets that the state holds, wait for them, and fail if an instance has none."""

    async def finish(records: dict[str, Any] | None) -> dict[str, SetRecord]:
        known = await known_of(taken)
        # Those of instances that have left the fleet are in the state, too.
        listed = {key: record for key, record in (records or {}).items() if key in known["instance_ids"]}
        if pulumi.runtime.is_dry_run() or is_mocked():
            return {key: set_of(record).record(region=known["region"]) for key, record in listed.items()}
        where = {"region": known["region"], "claim": known["claim"]}
        try:
            done, failures = await finish_sets(taken, listed, **where, wait=wait, timeout=timeout)
        except errors.SnapsetError as error:
            raise pulumi.RunError(errors.show(error)) from None
        texts = {**(known["failures"] or {}), **{key: errors.show(error) for key, error in failures.items()}}
        if texts:
            raise pulumi.RunError(_failure(texts, wanted=len(known["instance_ids"])))
        return {key: one.set.record(region=one.region, outcome=one.outcome) for key, one in sorted(done.items())}

    return taken.sets.apply(finish)


def _failure(failures: Mapping[str, str], *, wanted: int) -> str:
    shown = "".join(f"\n  {key}: {text}" for key, text in sorted(failures.items())[:_SHOWN_FAILURES])
    more = f"\n  and {len(failures) - _SHOWN_FAILURES} more" if len(failures) > _SHOWN_FAILURES else ""
    number = f"{len(failures)} of {wanted} instances have no backup"
    return f"SnapsetError: backing up the fleet: {number}. Mend this, and run it again:{shown}{more}"
