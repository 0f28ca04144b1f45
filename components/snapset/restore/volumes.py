"""Restore a set: one volume a snapshot, made once whatever fails, and attached where it was.

Each volume is made with a ClientToken, and carries the token of its restore as a tag from the call itself. A restore
looks for the volumes of its token first, and goes on from there: it makes what is missing and attaches what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

from typing_extensions import TypedDict

from snapset import errors
from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.aws.errors import IDEMPOTENT_PARAMETER_MISMATCH, PASSING_STATE_CODES
from snapset.aws.records import ATTACHED, AVAILABLE, CREATING, IN_USE, Volume
from snapset.restore.inputs import FINISHED, RestoreInputs, Source, client_token
from snapset.restore.plan import Plan, find_new, make_plan
from snapset.retry import polls, while_throttled

# How often a volume that vanished is made again.
_ATTEMPTS = 4
# How many client tokens are tried for a volume: AWS refuses those of volumes that have vanished since.
_TOKENS = 100
# AWS returns the same volume id for a token for about a day, even if that volume was deleted meanwhile. So the token
# of a restore that is done over and over, as in a drill, changes after these seconds.
_TOKEN_SECONDS = 600
# How long after a change the token from before is tried first: a run that was cut off may have used it.
_OVERLAP_SECONDS = 120


class VolumeRecord(TypedDict):
    """One restored volume, in JSON documents. `size_gib` in GiB, `state` is EC2's."""

    volume_id: str
    snapshot_id: str
    device_name: str
    size_gib: int
    availability_zone: str
    state: str


def restore_set(ec2: Ec2, inputs: RestoreInputs) -> list[VolumeRecord]:
    """Make one volume of each snapshot of the set, and attach each to the instance, if the inputs name one.

    Safe to repeat: the volumes that an earlier attempt made are taken up.

    Raises:
        InputError: the set or the target does not fit; nothing was created.
        SetFailedError: AWS set the set to `error`; nothing was created.
        WaitTimeoutError: the volumes are made, but not available or attached in time.
        SnapsetError: the answer of AWS. The volumes made so far stay, and a rerun goes on from there.
    """
    plan = make_plan(ec2, inputs)
    if plan.obstacle:
        raise errors.InputError(f"restoring {inputs.set_id}: {plan.obstacle}.")
    _show_earlier(ec2, plan)
    for source in plan.sources:
        wanted = inputs.tags_of(source)
        if source.volume and not wanted.items() <= source.volume.tags.items():
            ec2.add_tags([source.volume.volume_id], wanted)
    made = create_missing(ec2, plan)
    try:
        if inputs.instance_id:
            made = _attach_all(ec2, plan, made, instance_id=inputs.instance_id)
        # A volume that was handed out before keeps that time.
        if new := [volume.volume_id for volume in made if FINISHED not in volume.tags]:
            ec2.add_tags(new, {FINISHED: clock.stamp("milliseconds")})
    except errors.InputError as error:
        # Something was made, so the input is no longer to blame.
        text = f"{error} The volumes stay: {_listed(made)}. Run it again to go on."
        raise errors.SnapsetError(text, code=error.code) from error
    return [_record(source, volume) for source, volume in zip(plan.sources, made, strict=True)]


def _show_earlier(ec2: Ec2, plan: Plan) -> None:
    """Say which volumes of earlier runs are taken up, and which are not."""
    set_id, volume_ids = plan.inputs.set_id, _listed(plan.volumes)
    if plan.finished_at:
        ec2.say(f"{set_id}: restored at {plan.finished_at} as {volume_ids}, which an earlier run made")
    elif volume_ids:
        ec2.say(f"{set_id}: going on with {volume_ids}, which an earlier run made")
    if used := ", ".join(sorted(volume_id for source in plan.sources for volume_id in source.set_aside)):
        ec2.say(f"{set_id}: an earlier restore made {used}, which may have been used since: making new ones")


def delete_volumes(ec2: Ec2, volume_ids: Sequence[str]) -> None:
    """Delete the volumes: all are tried, and one that is gone counts as deleted.

    Raises:
        SnapsetError: some could not be deleted; it names each with the reason.
    """
    kept: list[errors.SnapsetError] = []
    for volume in ec2.describe_volumes(volume_ids):
        try:
            ec2.delete_volume(volume.volume_id)
        except errors.NotFoundError:
            continue
        except errors.SnapsetError as error:
            kept.append(error)
    if kept:
        why = " ".join(map(str, kept))
        raise type(kept[0])(
            f"deleting volumes: {len(kept)} of {len(volume_ids)} stay: {why} The rest is deleted; "
            "run it again once the reason is gone.",
            code=kept[0].code,
        )


def create_missing(ec2: Ec2, plan: Plan) -> list[Volume]:
    """Make the volumes that no earlier attempt has made, and return one for each source, in order, once all exist."""
    volume_ids = [source.volume.volume_id if source.volume else "" for source in plan.sources]
    gone: list[str] = []
    now = clock.now().timestamp()
    salts = [_salts(now) for _ in plan.sources]
    for _ in range(_ATTEMPTS):
        volume_ids = [
            volume_id or _create(ec2, plan, source, salts=left)
            for source, volume_id, left in zip(plan.sources, volume_ids, salts, strict=True)
        ]
        there = _wait_until_available(ec2, volume_ids)
        gone = [volume_id for volume_id in volume_ids if volume_id not in there]
        if not gone:
            return [there[volume_id] for volume_id in volume_ids]
        volume_ids = [volume_id if volume_id in there else "" for volume_id in volume_ids]
    raise errors.SnapsetError(
        f"restoring {plan.inputs.set_id}: {', '.join(gone)} vanished soon after CreateVolume, as volumes do whose "
        "KMS key may not be used. Check the key, and the permission to use it."
    )


def _salts(now: float) -> Iterator[str]:
    """Yield what the client tokens of an attempt, and of each repetition of it, are made with.

    `now` is AWS's time in seconds since 1970. Two runs that follow each other closely begin with the same salt.
    """
    period, passed = divmod(int(now), _TOKEN_SECONDS)
    first = period - 1 if passed < _OVERLAP_SECONDS else period
    yield f"{first}.0"
    yield from (f"{period}.{attempt}" for attempt in range(1, _TOKENS))


def _create(ec2: Ec2, plan: Plan, source: Source, *, salts: Iterator[str]) -> str:
    """Make the volume with the first of the salts whose token is not spent, and return its id."""
    request, doing = plan.request(source), f"creating the volume of {source.snapshot.snapshot_id}"
    bears = (errors.NoAnswerError,)

    def attempt(token: str) -> str:
        try:
            return ec2.create_volume(request, client_token=token)
        except errors.NoAnswerError as error:
            # The token makes another call safe; some endpoints do not know tokens, so look for the volume first.
            ec2.say(f"{doing}: no answer from AWS: looking whether it was made")
            if found := find_new(ec2, plan, source):
                return found.volume_id
            again = "Run it again: it goes on from the volumes that exist."
            raise type(error)(f"{error} {again}", code=error.code) from error

    for salt in salts:
        # For the token that a volume was made with, AWS would return that volume again, though it was set aside.
        call = partial(attempt, client_token(request, salt="".join([salt, *source.set_aside])))
        try:
            return while_throttled(call, doing=doing, seconds=ec2.limits.volume, say=ec2.say, bears=bears)
        except errors.SnapsetError as error:
            # The volume that was made with it is gone, and AWS remembers it for about a day.
            if error.code != IDEMPOTENT_PARAMETER_MISMATCH:
                raise
    raise errors.SnapsetError(f"{doing}: {_TOKENS} client tokens are spent. Run it again in {_TOKEN_SECONDS} s.")


def _wait_until_available(ec2: Ec2, volume_ids: Sequence[str]) -> dict[str, Volume]:
    """Wait until EC2 has made the volumes, and return those that exist then, by id."""
    seen: dict[str, Volume] = {}
    for _ in polls(ec2.limits.consistency):
        seen = _wait_until(ec2, volume_ids, lambda volume: not volume or volume.state != CREATING, still="being made")
        if len(seen) == len(volume_ids):
            break
    return {key: volume for key, volume in seen.items() if volume.state in (AVAILABLE, IN_USE)}


def _attach_all(ec2: Ec2, plan: Plan, made: Sequence[Volume], *, instance_id: str) -> list[Volume]:
    """Attach each volume as it was attached, wait until all are, and return them as they are then."""
    for source, volume in zip(plan.sources, made, strict=True):
        if not volume.instance_id:
            attach(ec2, volume.volume_id, instance_id=instance_id, device=source.device)
    attached = wait_until_attached(ec2, [volume.volume_id for volume in made], instance_id=instance_id)
    devices = {source.device for source in plan.sources if source.was and source.was.delete_on_termination}
    set_delete_on_termination(ec2, attached, devices, instance_id=instance_id)
    return attached


def set_delete_on_termination(
    ec2: Ec2, attached: Sequence[Volume], devices: Collection[str], *, instance_id: str
) -> None:
    """Have the volumes at these devices deleted with the instance, as before; AWS keeps what is attached later.

    If AWS refuses, warn: the volumes are attached, and at worst one stays after the instance.
    """
    to_set = [volume for volume in attached if volume.device_name in devices and not volume.deleted_with_instance]
    if not to_set:
        return
    try:
        ec2.set_delete_on_termination(instance_id, [volume.device_name for volume in to_set])
    except errors.UnreachableError:
        raise
    except (errors.NotPermittedError, errors.InputError) as error:
        ec2.say(f"warning: {_listed(to_set)} will stay when {instance_id} is terminated: {error}")


def attach(ec2: Ec2, volume_id: str, *, instance_id: str, device: str) -> None:
    """Begin to attach the volume, unless it is attached there already."""
    call = partial(ec2.attach_volume, volume_id, instance_id=instance_id, device=device)
    _bring(ec2, volume_id, call, to=(instance_id, device))


def wait_until_attached(ec2: Ec2, volume_ids: Sequence[str], *, instance_id: str) -> list[Volume]:
    """Wait until the volumes are attached, and return them."""
    seen = _wait_until(
        ec2,
        volume_ids,
        lambda volume: volume is not None and volume.attachment == ATTACHED,
        still=f"being attached to {instance_id}",
    )
    return [seen[volume_id] for volume_id in volume_ids]


def detach(ec2: Ec2, volume_id: str, *, instance_id: str) -> None:
    """Detach the volume from the instance, and wait until it is."""
    _bring(ec2, volume_id, partial(ec2.detach_volume, volume_id, instance_id=instance_id), to=("", ""))
    still = f"being detached from {instance_id} (unmount it there)"
    _wait_until(ec2, [volume_id], lambda volume: not volume or not volume.instance_id, still=still)


def _bring(ec2: Ec2, volume_id: str, call: Callable[[], None], *, to: tuple[str, str]) -> None:
    """Make the call, again while AWS refuses it for what may pass, until the volume is at `to`."""
    for goes_on in polls(ec2.limits.volume):
        try:
            return call()
        except (errors.NotPermittedError, errors.NotFoundError, errors.UnreachableError):
            raise
        except errors.SnapsetError as error:
            # AWS refuses what is done already: the answer may have been lost, or another run was quicker.
            found = [(volume.instance_id, volume.device_name) for volume in ec2.describe_volumes([volume_id])]
            where = found[0] if found else ("", "")
            may_pass = error.code in PASSING_STATE_CODES or "already in use" in str(error)
            if where == to:
                return None
            if not may_pass or (where[0] and to[0]):
                raise
            if not goes_on:
                raise errors.WaitTimeoutError(f"{error} It was so until the time was up.", code=error.code) from error
    return None


def _wait_until(
    ec2: Ec2, volume_ids: Sequence[str], is_ready: Callable[[Volume | None], bool], *, still: str
) -> dict[str, Volume]:
    """Wait until all of the volumes are ready, and return those that EC2 can see, by id.

    `is_ready` gets None for a volume that EC2 can't see. `still` says what late volumes wait for.
    """
    seen: dict[str, Volume] = {}
    late: list[str] = []
    for _ in polls(ec2.limits.volume):
        seen = {volume.volume_id: volume for volume in ec2.describe_volumes(volume_ids)}
        late = [volume_id for volume_id in volume_ids if not is_ready(seen.get(volume_id))]
        if not late:
            return seen
    raise errors.WaitTimeoutError(
        f"waiting for {', '.join(late)}: still {still} when the time was up. Run it again to go on."
    )


def _listed(volumes: Sequence[Volume]) -> str:
    return ", ".join(volume.volume_id for volume in volumes)


def _record(source: Source, volume: Volume) -> VolumeRecord:
    return VolumeRecord(
        volume_id=volume.volume_id,
        snapshot_id=source.snapshot.snapshot_id,
        device_name=volume.device_name or source.device,
        size_gib=volume.size_gib,
        availability_zone=volume.availability_zone,
        state=volume.state,
    )
