"""Take a set of each of many instances, each exactly once, with as few calls as there can be: the only road to a set.

Their volumes are described together, and the sets of earlier runs are looked for together, two hundred with a call.
What remains is one CreateSnapshots for each, side by side, and paced once AWS throttles it. One failure does not
affect the others.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import ERROR
from snapset.limits import Limits
from snapset.pace import Pace
from snapset.sets import tags
from snapset.sets.choose import Accept, Intent, is_orphan
from snapset.sets.create import Run, Taken, create_set
from snapset.sets.find import find_sets_with
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet
from snapset.sets.preflight import error_of
from snapset.sets.served import choose_served, find_fitting, inspect_and_find
from snapset.sets.threads import for_each


@dataclass(kw_only=True)
class Outcome:
    """What became of each instance, by id: its set, or why it has none."""

    taken: dict[str, Taken] = field(default_factory=dict)
    failures: dict[str, errors.SnapsetError] = field(default_factory=dict)
    # How the volumes were, as far as that was seen: see `snapset.sets.volume_tag`.
    attributes: Mapping[str, str] = field(default_factory=dict)


def take_sets(
    ec2: Ec2,
    wanted: Sequence[SetInputs],
    *,
    still_wanted: Callable[[], bool] = lambda: True,
    cut_off: bool = False,
    served_within: float | None = None,
    adopt_within: float = math.inf,
) -> Outcome:
    """Adopt or create the set of each intent; see `snapset.sets.create.create_set`.

    Args:
        ec2: where.
        wanted: what to snapshot, one for each instance.
        still_wanted: asked before each attempt; false once nobody is there to record the sets.
        cut_off: a run on another machine was cut off while it took sets, which may not be visible yet.
        served_within: any set of the change that is so many seconds old serves, whoever holds it: see
            `snapset.sets.served`. Where it is None, a resource takes a set of its own.
        adopt_within: how old an unclaimed set may be, in seconds, if that is less than the limits have it.

    Raises:
        SnapsetError: the instances, or the sets, can't be described; nothing was taken.
    """
    inspection, earlier = inspect_and_find(ec2, wanted, cut_off=cut_off)
    refused = {key: error_of(key, problems) for key, problems in inspection.problems.items()}
    outcome = Outcome(failures=refused, attributes=inspection.attributes)
    if served_within is None:
        accept = _accept_orphans(ec2, earlier, replace(ec2.limits, adoption=min(adopt_within, ec2.limits.adoption)))
    else:
        fitting = find_fitting(ec2, inspection.ready, earlier, inspection.attached, within=served_within)
        served = {key: choose_served(found) for key, found in fitting.items()}
        outcome.taken = {key: Taken(set=found, outcome="unchanged") for key, found in served.items() if found}
        accept = _accept_fitting(fitting, earlier)
    intents = [
        Intent(
            inputs=inputs,
            volumes=inspection.volumes.get(inputs.instance_id) or None,
            earlier=earlier.get(inputs.token, ()),
            accepts=accept(inputs),
        )
        for inputs in inspection.ready
        if inputs.instance_id not in outcome.taken
    ]
    _create_all(ec2, intents, outcome, still_wanted=still_wanted)
    return outcome


def take_set(
    ec2: Ec2,
    inputs: SetInputs,
    *,
    still_wanted: Callable[[], bool] = lambda: True,
    adopt_within: float = math.inf,
) -> Taken:
    """Adopt or create the set of one intent; see `take_sets`.

    Raises:
        SnapsetError: why there is none.
    """
    outcome = take_sets(ec2, [inputs], still_wanted=still_wanted, adopt_within=adopt_within)
    for error in outcome.failures.values():
        raise error
    return outcome.taken[inputs.instance_id]


_Acceptor = Callable[[SetInputs], Accept]


def _accept_orphans(ec2: Ec2, earlier: Mapping[str, Sequence[SnapshotSet]], limits: Limits) -> _Acceptor:
    """Adopt only what nobody has claimed, and after which the same resource has taken no other set.

    Else that one is of another change since, and this one shows the instance before it.
    """
    orphans = [found for sets in earlier.values() for found in sets if is_orphan(found, limits=limits)]
    resources = sorted({found.resource for found in orphans if found.resource})
    newest: dict[tuple[str, str], str] = {}
    for found in find_sets_with(ec2, tags.RESOURCE, resources):
        key = (found.resource, found.instance_id)
        newest[key] = max(newest.get(key, ""), found.start_time)

    def acceptor(inputs: SetInputs) -> Accept:
        last = newest.get((inputs.resource, inputs.instance_id), "")
        return lambda found: is_orphan(found, limits=limits) and found.start_time >= last

    return acceptor


def _accept_fitting(
    fitting: Mapping[str, Sequence[SnapshotSet]], earlier: Mapping[str, Sequence[SnapshotSet]]
) -> _Acceptor:
    """Adopt what fits the change, and what another run takes for it at this moment."""

    def acceptor(inputs: SetInputs) -> Accept:
        known = {found.set_id for found in earlier.get(inputs.token, ())}
        good = {found.set_id for found in fitting[inputs.instance_id]}

        def accepts(found: SnapshotSet) -> bool:
            if found.set_id in known:
                return found.set_id in good
            return found.state != ERROR and inputs.leaves_out(found.excluded)

        return accepts

    return acceptor


def _create_all(ec2: Ec2, intents: Sequence[Intent], outcome: Outcome, *, still_wanted: Callable[[], bool]) -> None:
    run = Run(ec2=ec2, still_wanted=still_wanted)
    if len(intents) > 1:
        progress = _OwnSnapshots(ec2, outcome, within=ec2.limits.throttle)
        run = Run(ec2=ec2, still_wanted=_asked_rarely(still_wanted), pace=Pace(), progress=progress)

    def take(intent: Intent) -> None:
        instance_id = intent.inputs.instance_id
        try:
            outcome.taken[instance_id] = create_set(run, intent)
        except errors.SnapsetError as error:
            outcome.failures[instance_id] = error

    for_each(take, intents, say=lambda number: ec2.say(f"{number} sets taken"))


def _asked_rarely(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that gives the same answer, but asks four times a second at most."""
    known: list[tuple[float, bool]] = [(0.0, True)]

    def answer() -> bool:
        until, last = known[0]
        if time.monotonic() > until:
            last = ask()
            known[0] = (time.monotonic() + 0.25, last)
        return last

    return answer


class _OwnSnapshots:
    """Tells whether the snapshots of this run make progress: too many pending ones keep it from taking more."""

    _POLL_SECONDS = 30.0

    def __init__(self, ec2: Ec2, outcome: Outcome, *, within: float) -> None:
        self._ec2, self._outcome, self._within = ec2, outcome, within
        self._lock = threading.Lock()
        self._done, self._grew, self._polled = 0, -within, -self._POLL_SECONDS

    def goes_on(self) -> bool:
        """Tell whether they made progress within as many seconds as a throttled call is repeated."""
        # Many threads ask at about the same time.
        with self._lock:
            now = time.monotonic()
            if now - self._polled >= self._POLL_SECONDS:
                done = self._poll()
                if done > self._done:
                    self._done, self._grew = done, now
                self._polled = now
            return now - self._grew <= self._within

    def _poll(self) -> int:
        """Return the sum of the snapshots' progress in percent; if that can't be seen, as it was before."""
        taken = [key for taken in list(self._outcome.taken.values()) for key in taken.set.snapshot_ids]
        try:
            found = self._ec2.describe_snapshots(taken)
        except errors.SnapsetError:
            return self._done
        return sum(one.percent for one in found)
