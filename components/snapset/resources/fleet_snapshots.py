"""`FleetSnapshots`: one set of each of many instances, in one resource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pulumi
from typing_extensions import Required, Unpack

from snapset import errors
from snapset.resources.arguments import bad_call_as_error, gather_inputs, options_inside, take_wait
from snapset.resources.aws_provider import find_provider
from snapset.resources.claim_and_wait import finish_in_program
from snapset.resources.fleet_set import FleetSet, await_outputs, current_sets
from snapset.resources.program import is_mocked
from snapset.resources.set_args import SetArgs
from snapset.resources.set_state import set_from_state, status_from_state
from snapset.sets.model import SetRecord
from snapset.text import clean

_SHOWN_FAILURES = 20


class FleetSnapshotsArgs(SetArgs, total=False):
    """The inputs of `FleetSnapshots`."""

    instances: Required[pulumi.Input[Iterable[pulumi.Input[str] | pulumi.CustomResource]]]
    """`aws.ec2.Instance`s, or ids of instances; each gets one set."""
    wait: bool | None
    """Wait until all sets have completed (default), or only until they are taken."""
    wait_timeout: str | None
    """How long to wait, such as `90s`, `30m` or `2h` (default)."""


class FleetSnapshots(pulumi.ComponentResource):
    """A crash-consistent set of snapshots of each of many instances: all in one run, at AWS's own speed.

    An instance that joins gets a set, and one that leaves loses none. One failure does not affect the others:
    `pulumi up` records what was taken, names what was not, and fails; the next `up` takes what is missing.
    """

    sets: pulumi.Output[dict[str, SetRecord]]
    """The record of each set, by the id of its instance, with its state at the end of the run."""
    failures: pulumi.Output[dict[str, str]]
    """Why an instance has no set, by its id."""
    region: pulumi.Output[str]
    """Where they are."""
    change_id: pulumi.Output[str | None]
    """The change that the sets were taken for, known once all have completed; never if one fails. A run that leaves
    the fleet out (`--target`, `--exclude`) has the change of the last run here."""

    @bad_call_as_error
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
        of = f"{type(self).__name__} {name}"
        given = gather_inputs(args, inputs, FleetSnapshotsArgs, of=of, needs="instances")
        instances, (wait, timeout) = _listed(given.pop("instances"), of=of), take_wait(given, of=of)
        resources = instances if isinstance(instances, list) else []
        self.set: FleetSet = FleetSet(
            name,
            instance_ids=_ids_of(instances),
            **given,
            opts=options_inside(self, opts, find_provider(opts, *resources), of=of, instances="instance_ids"),
        )
        self.region = self.set.region
        self.failures = self.set.failures.apply(_as_texts)
        self.sets = _finish(self.set, wait=wait, timeout=timeout)
        self.change_id = self.sets.apply(lambda _: self.set.change_id)
        self.register_outputs({name: getattr(self, name) for name in FleetSnapshots.__annotations__})


def _listed(instances: Any, *, of: str) -> Any:
    """Return the instances as a list, unless they are not known yet."""
    if isinstance(instances, (str, Mapping, pulumi.Resource)):
        advice = "Give a list, such as [server] or list(servers.values())."
        raise pulumi.RunError(f"InputError: reading {of}: instances is of type {type(instances).__name__}. {advice}")
    is_iterable = isinstance(instances, Iterable) and not isinstance(instances, pulumi.Output)
    return list(instances) if is_iterable else instances


def _ids_of(instances: Any) -> Any:
    if not isinstance(instances, list):
        return instances
    return [item.id if isinstance(item, pulumi.CustomResource) else item for item in instances]


def _finish(taken: FleetSet, *, wait: bool, timeout: float) -> pulumi.Output[dict[str, SetRecord]]:
    """Claim the sets that the state holds, wait for them, and fail if an instance has none."""

    async def finish(states: dict[str, Any] | None) -> dict[str, SetRecord]:
        known = await await_outputs(taken)
        current = current_sets({**known, "sets": states})
        # Those of instances that have left the fleet are in the state, too.
        listed = {key: current[key] for key in known["instance_ids"] or [] if key in current}
        if pulumi.runtime.is_dry_run() or is_mocked():
            return {key: set_from_state(state).record(region=known["region"]) for key, state in listed.items()}
        recorded = [status_from_state(state) for state in listed.values()]
        attributes = {key: text for state in listed.values() for key, text in (state.get("volumes") or {}).items()}
        done = await finish_in_program(taken, recorded, known, wait=wait, timeout=timeout, attributes=attributes)
        texts = {one.instance_id: errors.show(one.failure) for one in done if one.failure}
        # An instance without a set and without a reason has no backup either.
        missing = dict.fromkeys(known["instance_ids"] - listed.keys(), "there is no set of it; `pulumi up` takes one")
        if failures := {**missing, **_as_texts(known["failures"]), **texts}:
            raise pulumi.RunError(_failure(failures, wanted=len(known["instance_ids"])))
        by_instance = sorted(done, key=lambda one: one.instance_id)
        return {one.instance_id: one.set.record(region=known["region"], outcome=one.outcome) for one in by_instance}

    return taken.sets.apply(finish)


def _as_texts(failures: Mapping[str, Any] | None) -> dict[str, str]:
    return {key: errors.show(errors.from_record(record)) for key, record in (failures or {}).items()}


def _failure(failures: Mapping[str, str], *, wanted: int) -> str:
    shown = "".join(f"\n  {clean(key)}: {text}" for key, text in sorted(failures.items())[:_SHOWN_FAILURES])
    more = f"\n  and {len(failures) - _SHOWN_FAILURES} more" if len(failures) > _SHOWN_FAILURES else ""
    number = f"{len(failures)} of {wanted} instances have no backup"
    return f"SnapsetError: backing up the fleet: {number}. Mend this, and run it again:{shown}{more}"
