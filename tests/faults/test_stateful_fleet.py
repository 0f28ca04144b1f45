"""A fleet: exactly one set for each reason to take one, whatever fails, in any order, on a model of the engine.

The engine is modelled as this: what a step returns is the state from then on, and a run that is killed during a step
leaves the state as it was. `tests/engine/test_fleet_snapshots.py` kills the real one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from pulumi.dynamic import Config, ConfigureRequest
from snapset.aws.ec2 import Ec2
from snapset.emulator.client import ROOT_DEVICE, EmbeddedEC2
from snapset.errors import SnapsetError
from snapset.resources.fleet_set import FleetSetProvider, current_sets
from snapset.resources.set_state import status_from_state
from snapset.sets import tags
from snapset.sets.claims import complete_claim
from snapset.sets.finish import finish_sets
from snapset.sets.inputs import parse
from snapset.sets.served import find_served
from support.places import two_regions_and_two_accounts
from support.project import mutating
from support.sets import SetInEC2, find_sets, find_taken, wait_for_calls

if TYPE_CHECKING:
    from pathlib import Path

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
SETTINGS = settings(
    max_examples=300 if THOROUGH else 12,
    stateful_step_count=20 if THOROUGH else 10,
    derandomize=not THOROUGH,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
ID = "fleet-0123456789abcdef0"
SIZE = 4


class Killed(BaseException):
    """The run is gone."""


@dataclass(frozen=True)
class Accident:
    """One accident of a run: EC2 fails, or the run is killed at its nth call of CreateSnapshots or CreateTags.

    A kill happens before the call, or after EC2 has carried it out; all calls that follow are not made.
    """

    name: str = "nothing"
    faults: tuple[Mapping[str, Any], ...] = ()
    kill_at: str = ""
    nth: int = 0
    after: bool = False
    unrecorded: bool = False

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(self.name)


def killed_at(call: str, nth: int, after: bool) -> Accident:
    return Accident(f"killed {'after' if after else 'before'} {call} {nth}", kill_at=call, nth=nth, after=after)


NOTHING, UNRECORDED = Accident(), Accident("killed before the state was written", unrecorded=True)
ACCIDENTS = st.one_of(
    st.just(NOTHING),
    st.builds(
        killed_at,
        st.sampled_from(["create_snapshots", "add_tags"]),
        st.integers(0, SIZE - 1),
        st.booleans(),
    ),
    st.just(UNRECORDED),
    st.builds(
        lambda kind, skip, times: Accident(
            f"{kind} after {skip}, {times} times",
            ({"action": "CreateSnapshots", "kind": kind, "skip": skip, "times": times},),
        ),
        st.sampled_from(["close_before", "close_after", "error_after", "deny"]),
        st.integers(0, SIZE - 1),
        st.sampled_from([1, 2, 8]),
    ),
    st.just(
        Accident("throttled", ({"action": "CreateSnapshots", "kind": "rate", "bucket": 2, "refill_per_second": 20},))
    ),
)


class Runs(RuleBasedStateMachine):
    """Runs of a provider, and the accidents that befall them."""

    def __init__(self, ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.ec2, self.patch = ec2, monkeypatch
        ec2.reset()
        config = {"aws:region": ec2.region, "aws:endpoints": json.dumps([{"ec2": ec2.endpoint, "sts": ec2.endpoint}])}
        self.config = {**config, "aws:accessKey": "testing", "aws:secretKey": "testing"}

    def start_provider(self) -> FleetSetProvider:
        provider = FleetSetProvider()
        provider.configure(ConfigureRequest(Config(self.config, "shop")))
        return provider

    def connect(self) -> Ec2:
        provider = self.start_provider()
        return Ec2(provider._settings.in_region(self.config["aws:region"]), provider._limits)

    @contextmanager
    def befalling(self, accident: Accident) -> Iterator[None]:
        for fault in accident.faults:
            self.ec2.fault(**fault)
        with self.patch.context() as patch:
            self._kill_at(accident, patch)
            try:
                yield
            except Killed:
                pass
            except Exception:
                if not accident.faults:
                    raise
        self.ec2.clear_faults()
        wait_for_calls(self.ec2)

    def _kill_at(self, accident: Accident, patch: pytest.MonkeyPatch) -> None:
        if not accident.kill_at:
            return
        call: Callable[..., Any] = getattr(Ec2, accident.kill_at)
        lock, made = threading.Lock(), [0]

        def killed(*args: Any, **given: Any) -> Any:
            with lock:
                made[0] += 1
                number = made[0] - 1
            if number < accident.nth:
                return call(*args, **given)
            if number == accident.nth and accident.after:
                call(*args, **given)
            raise Killed

        patch.setattr(Ec2, accident.kill_at, killed)


class OneSetEach(Runs):
    """A stack with a fleet: what its user and others do, and what must hold after each run."""

    def __init__(self, ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(ec2, monkeypatch)
        self.fleet = [ec2.launch().instance_id for _ in range(SIZE)]
        self.program: dict[str, Any] = {"instance_ids": self.fleet[:2], "triggers": 0}
        self.scope = "org/shop/prod/web"
        self.state: dict[str, Any] | None = None
        self.ever: dict[str, set[str]] = {}
        self.gone_by_hand: set[str] = set()
        # What forced replacements were to be recorded with, and were not: only another one takes these sets up.
        self.forced: set[str] = set()

    @rule(
        members=st.none() | st.sets(st.integers(0, SIZE - 1)),
        renew=st.booleans(),
        accident=ACCIDENTS,
        force=st.sampled_from([False, False, False, True]),
    )
    def up(
        self,
        members: set[int] | None = None,
        renew: bool = False,
        accident: Accident = NOTHING,
        force: bool = False,
    ) -> None:
        if members is not None:
            self.program["instance_ids"] = [self.fleet[number] for number in sorted(members)]
        # Only what the state knows: a trigger that no run has recorded yet stays the same intent.
        if renew and self.state and self.state["triggers"] == self.program["triggers"]:
            self.program["triggers"] += 1
        self._run(accident, force=force)
        self._judge(force=force)

    @rule(name=st.sampled_from(["web", "renamed"]))
    def rename(self, name: str = "renamed") -> None:
        """An alias, or the stack's new name: the resource in the state is the same, its next scope another."""
        self.scope = f"org/shop/prod/{name}"

    @precondition(lambda self: self.state)
    @rule()
    def up_again(self) -> None:
        """After a run in which nothing fails, the state holds one whole set of each instance, with its claim."""
        self.up()
        assert self.state
        assert self.state["failures"] == {}
        there = find_sets(self.ec2)
        for instance_id in self.program["instance_ids"]:
            record = current_sets(self.state)[instance_id]
            assert there[record["set_id"]].ids == set(record["snapshot_ids"])
            assert self.state["claim"] in there[record["set_id"]].claims
        self.ec2.clear_calls()
        self.up()
        assert find_taken(self.ec2) == []

    @precondition(lambda self: self.state and self.state["sets"])
    @rule(number=st.integers(0, SIZE - 1))
    def somebody_deletes_a_set(self, number: int = 0) -> None:
        assert self.state
        set_id = sorted(self.state["sets"])[number % len(self.state["sets"])]
        record = self.state["sets"][set_id]
        for snapshot_id in record["snapshot_ids"]:
            self.ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
        self.gone_by_hand.add(set_id)
        self.state = dict(self.start_provider().read(ID, self.state).outs or {})
        assert set_id not in self.state["sets"]
        self.ec2.clear_calls()

    def _run(self, accident: Accident, *, force: bool) -> None:
        provider = self.start_provider()
        inputs = {"is_preview": False, "scope": self.scope, "region": "us-east-1", **self.program}
        # For a forced replacement the engine passes no old inputs, and calls no diff().
        checked = provider.check({} if force else self.state or {}, inputs)
        assert checked.failures == []
        with self.befalling(accident):
            self._step(provider, dict(checked.inputs), accident, force=force)

    def _step(self, provider: FleetSetProvider, news: dict[str, Any], accident: Accident, *, force: bool) -> None:
        old, replaces = self.state, force
        if old is not None and not force:
            diff = provider.diff(ID, old, news)
            if not diff.changes:
                return self._claim(old)
            replaces = bool(diff.replaces)
        if old is None or replaces:
            new = dict(provider.create(news).outs or {})
        else:
            new = dict(provider.update(ID, old, news).outs or {})
        if accident.unrecorded:
            raise Killed
        replaced = old if replaces else None
        self.state = new
        self._claim(new)
        if replaced:
            provider.delete(ID, replaced)
        return None

    def _claim(self, state: dict[str, Any]) -> None:
        """What the program does once the state is written, without the wait."""
        current = current_sets(state)
        recorded = [status_from_state(current[key]) for key in state["instance_ids"] if key in current]
        done = asyncio.run(finish_sets(self.connect(), recorded, claim=state["claim"], until="seen", timeout=1))
        assert [status.failure for status in done] == [None] * len(recorded)

    def _judge(self, *, force: bool) -> None:
        there = find_sets(self.ec2)
        assert self.ec2.calls("DeleteSnapshot") == []
        self.ever |= {set_id: found.ids for set_id, found in there.items()}
        assert {key: found.ids for key, found in there.items()} == {
            key: ids for key, ids in self.ever.items() if key not in self.gone_by_hand
        }
        self._judge_intents(there, force=force)
        self.ec2.clear_calls()

    def _judge_intents(self, there: Mapping[str, SetInEC2], *, force: bool) -> None:
        """One that nobody holds is adopted by the next run. So there is never more than one for an intent."""
        now = (self.state or {"sets": {}})["sets"]
        waiting = [found.token for set_id, found in there.items() if not found.claims and set_id not in now]
        assert len(waiting) == len(set(waiting)), "two sets for one intent"
        if force:
            self.forced |= set(waiting)
        for set_id in now:
            assert there[set_id].token not in set(waiting) - self.forced, "a set besides the one in the state"


MACHINES = st.sampled_from(["a", "b", "fresh"])
PLACES = ("here", "another Region", "another account")
places = st.sampled_from(PLACES)


class OneSetPerChange(Runs):
    """`snapset backup` of one change, in two Regions and two accounts, on two machines that share nothing, and on new
    ones: whatever fails, one set of each instance serves it.

    A run is as `snapset.pipeline.backup` has it: a look without the engine, then the engine for what is missing.
    """

    def __init__(self, ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        super().__init__(ec2, monkeypatch)
        self.homes = folder
        self.places = two_regions_and_two_accounts(ec2)
        self.fleets = {name: [place.launch("/dev/sdf") for _ in range(2)] for name, place in self.places.items()}
        # By machine and Region, as the names of the stacks: one state may hold sets of two accounts.
        self.states: dict[tuple[str, str], dict[str, Any]] = {}
        self.ever: dict[str, dict[str, set[str]]] = {name: {} for name in PLACES}
        self.place_of: dict[str, str] = {}
        # A machine has no notes of the runs before: those of another example are none of its.
        self.number = next(_numbers)

    @rule(machine=MACHINES, place=places, accident=ACCIDENTS)
    def backup(self, machine: str = "a", place: str = "here", accident: Accident = NOTHING) -> None:
        self._move_to(machine, place)
        with self.befalling(accident):
            self._backup(accident)
        for name in PLACES:
            there = self._sets(name)
            if name == place:
                self.ever[name] |= {set_id: found.ids for set_id, found in there.items()}
                self.place_of |= dict.fromkeys(there, place)
            assert {set_id: found.ids for set_id, found in there.items()} == self.ever[name]
            tokens = [found.token for found in there.values()]
            assert len(tokens) == len(set(tokens)), "two sets of an instance for the change"

    @rule(machine=MACHINES, place=places)
    def backup_again(self, machine: str = "a", place: str = "here") -> None:
        """After a run in which nothing fails, a set of each instance serves every run, on whichever machine."""
        self.backup(machine, place)
        there = self._sets(place)
        assert len(there) == len(self.fleets[place])
        for found in there.values():
            assert len(found.ids) == 2
            assert {len(snapshot.claims) for snapshot in found.snapshots.values()} == {1}
            assert len(found.claims) == 1
            assert {snapshot.tags[tags.DEVICE] for snapshot in found.snapshots.values()} == {ROOT_DEVICE, "/dev/sdf"}
        for again in ("a", "b", "fresh"):
            self.ec2.clear_calls()
            self.backup(again, place)
            assert mutating(self.ec2.calls()) == []

    @precondition(lambda self: self.states)
    @rule(machine=st.sampled_from(["a", "b"]), place=places)
    def refresh(self, machine: str = "a", place: str = "here") -> None:
        """Whichever account's credentials it has, it forgets just what somebody has deleted in that account."""
        self._move_to(machine, place)
        state = self.states.get(self.stack)
        if not state:
            return
        there = {set_id for name in PLACES for set_id in self._sets(name)}
        try:
            now = dict(self.start_provider().read(ID, state).outs or {})
        except SnapsetError:
            assert {self.place_of[set_id] for set_id in state["sets"]} - {place}, "all are this account's"
            return
        assert state["sets"].keys() & there <= now["sets"].keys()
        self.states[self.stack] = now

    @rule(place=places)
    def somebody_deletes_a_set(self, place: str = "here") -> None:
        for set_id, found in list(self._sets(place).items())[:1]:
            for snapshot_id in found.ids:
                self.places[place].ec2.delete_snapshot(SnapshotId=snapshot_id)
            del self.ever[place][set_id]

    def _move_to(self, machine: str, place: str) -> None:
        """From now on, runs are on this machine, with the credentials and the Region of this place."""
        if machine == "fresh":
            machine = f"fresh {next(_numbers)}"
        self.here = self.places[place]
        self.stack = (machine, self.here.region)
        self.wanted = [
            parse({"region": self.here.region, "change_id": "release-42", "instance_id": instance_id})
            for instance_id in self.fleets[place]
        ]
        self.patch.setenv("XDG_STATE_HOME", str(self.homes / f"{self.number}-{machine}"))
        names = ("aws:accessKey", "aws:secretKey", "aws:token")
        self.config |= dict(zip(names, self.here.keys.values(), strict=True)) | {"aws:region": self.here.region}

    def _sets(self, place: str) -> dict[str, SetInEC2]:
        return find_sets(self.ec2, self.places[place].ec2)

    def _backup(self, accident: Accident) -> None:
        ec2 = self.connect()
        served, inspection = find_served(ec2, self.wanted, within=3600)
        for instance_id, found in served.items():
            complete_claim(ec2, found, volumes=inspection.volumes[instance_id])
        missing = [inputs.instance_id for inputs in self.wanted if inputs.instance_id not in served]
        if not missing:
            return
        provider, old = self.start_provider(), self.states.get(self.stack)
        inputs = {"is_preview": False, "scope": self.stack[0], "instance_ids": missing, "served_within": 3600.0}
        inputs |= {"region": self.here.region, "change_id": "release-42"}
        news = dict(provider.check(old or {}, inputs).inputs)
        new = dict((provider.update(ID, old, news) if old else provider.create(news)).outs or {})
        if accident.unrecorded:
            raise Killed
        assert old is None or old["sets"].keys() <= new["sets"].keys()
        self.states[self.stack] = new
        states = [state for key, state in current_sets(new).items() if key in missing]
        recorded = [status_from_state(state, trusts_answer=True) for state in states]
        asyncio.run(finish_sets(ec2, recorded, claim=new["claim"], until="seen", timeout=1, serves_anyone=True))


_numbers = itertools.count()


def test_each_instance_has_exactly_one_set_for_each_intent_whatever_fails(
    ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name, value in {"CONSISTENCY": "0", "LATE": "0", "THROTTLE": "5"}.items():
        monkeypatch.setenv(f"SNAPSET_{name}_SECONDS", value)
    machine: Any = partial(OneSetEach, ec2, monkeypatch)
    run_state_machine_as_test(machine, settings=SETTINGS)


@pytest.fixture
def change(ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], OneSetPerChange]:
    for name, value in {"CONSISTENCY": "0", "LATE": "0", "THROTTLE": "5"}.items():
        monkeypatch.setenv(f"SNAPSET_{name}_SECONDS", value)
    # Raise errors unchanged, not shortened to one line for Pulumi.
    monkeypatch.setenv("SNAPSET_DEBUG", "1")
    return partial(OneSetPerChange, ec2, monkeypatch, tmp_path)


def test_a_change_has_one_set_of_each_instance_whatever_fails_on_whichever_machine(change: Any) -> None:
    shorter = settings(SETTINGS, max_examples=SETTINGS.max_examples // 3, stateful_step_count=6)
    run_state_machine_as_test(change, settings=shorter)


# Of two instances with two volumes each.
KILLS = [
    *(killed_at("create_snapshots", nth, after) for nth in range(2) for after in (False, True)),
    UNRECORDED,
    *(killed_at("add_tags", nth, after) for nth in range(4) for after in (False, True)),
]


@pytest.mark.parametrize("accident", KILLS, ids=lambda accident: accident.name)
def test_another_machine_takes_up_what_a_killed_run_has_left(
    change: Callable[[], OneSetPerChange], accident: Accident
) -> None:
    machines = change()
    machines.backup("a", accident=accident)
    machines.backup_again("b")
