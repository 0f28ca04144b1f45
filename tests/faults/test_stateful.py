"""Exactly one set, whatever fails: runs, accidents and changes by hand in any order, on a model of the engine.

`HYPOTHESIS_PROFILE=thorough pytest tests/faults/test_stateful.py` tries more and longer ones, and new ones each time.
"""

from __future__ import annotations

import datetime
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from snapset.aws import clock
from snapset.aws.ec2 import _clients_for
from snapset.sets import tags, wait
from support.accidents import (
    KILLS,
    NO_ANSWERS,
    NOTHING,
    REFUSALS,
    SLOW,
    TAG,
    Accident,
    Strike,
    denied,
    killed,
    unseen,
)
from support.engine_model import RECORDED, Engine, Resource, Run
from support.sets import SetInEC2, find_sets, find_taken, wait_for_calls

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
SETTINGS = settings(
    max_examples=500 if THOROUGH else 25,
    stateful_step_count=25 if THOROUGH else 15,
    derandomize=not THOROUGH,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

ROOT, DATA = "/dev/sda1", "/dev/sdf"
EDITS: list[dict[str, Any]] = [
    {},
    {"triggers": 1},
    {"triggers": 2.5},
    {"triggers": None},
    {"tags": {"app": "shop"}},
    {"tags": None},
    {"exclude": [DATA]},
    {"exclude": None},
    {"change_id": "c1"},
    {"change_id": None},
]
# In half of the runs nothing fails, and half have the inputs of the run before. Otherwise no stack would get far.
edits: st.SearchStrategy[dict[str, Any]] = st.one_of(st.just({}), st.sampled_from(EDITS))
accidents = st.one_of(
    st.just(NOTHING),
    *(st.sampled_from(accidents) for accidents in (KILLS, NO_ANSWERS, REFUSALS, *([SLOW] if THOROUGH else []))),
)


class ClockAhead:
    """This machine's clock as a test sets it."""

    seconds = 0.0

    def read(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=self.seconds)


clock_ahead = ClockAhead()


class OneSet(RuleBasedStateMachine):
    """A stack with one set: what its user and others do, and what must hold after each run.

    The shape is the inputs that replace the set. An intent is one reason to take a set: the first run, another shape,
    a forced replacement, or a set that is known to be in `error` or not whole. It stays open until a state holds a
    set for it, even over several runs.
    """

    def __init__(self, ec2: EmbeddedEC2, setenv: Callable[[str, str], None]) -> None:
        super().__init__()
        self.ec2, self.setenv = ec2, setenv
        clock_ahead.seconds = 0
        ec2.reset()
        instance = ec2.launch([(1, DATA, {})])
        ec2.clear_calls()
        self.volumes = instance.volume_ids
        config = {"aws:region": ec2.region, "aws:endpoints": json.dumps([{"ec2": ec2.endpoint, "sts": ec2.endpoint}])}
        self.engine = Engine({**config, "aws:accessKey": "testing", "aws:secretKey": "testing"})
        self.program: dict[str, Any] = {"instance_id": instance.instance_id}
        # Whether the set has the option `delete_before_replace`.
        self.delete_first = False
        self.scope = "org/project/stack/backup"
        self.exported: list[Resource] = []
        # The sets in EC2 after the last step.
        self.sets: dict[str, SetInEC2] = {}
        # Whether the last `up` failed, and whether it was a forced replacement.
        self.failed = self.forced = False
        # The snapshots of every set ever taken, in order, and the snapshots that somebody deleted by hand.
        self.taken: dict[str, set[str]] = {}
        self.gone: set[str] = set()
        # By shape: its token, and the sets taken for its open intent.
        self.tokens: dict[str, str] = {}
        self.open: defaultdict[str, list[str]] = defaultdict(list)
        # The resource of every claim that was ever in the state, and the claim of every snapshot ever claimed.
        self.recorded: dict[str, Resource] = {}
        self.claimed: dict[str, str] = {}

    @rule(edit=edits, accident=accidents)
    def up(self, edit: Mapping[str, Any] = {}, accident: Accident = NOTHING) -> None:
        self._up(edit, accident, force=False)

    @precondition(lambda self: self.engine.live)
    @rule(accident=accidents)
    def replace(self, accident: Accident = NOTHING) -> None:
        self._up({}, accident, force=True)

    @rule(name=st.sampled_from(["backup", "renamed"]))
    def rename(self, name: str = "renamed") -> None:
        """An alias, or the stack's new name: the resource in the state is the same, its next scope another."""
        self.scope = f"org/project/stack/{name}"

    @rule()
    def turn_the_order_of_replacements(self) -> None:
        self.delete_first = not self.delete_first

    @rule(seconds=st.sampled_from([-3600, -60, 0, 60, 7200]))
    def set_this_machines_clock(self, seconds: float = 3600) -> None:
        """From now on, this machine's clock is ahead of AWS's by so much."""
        clock_ahead.seconds = seconds

    @rule()
    def export(self) -> None:
        """`pulumi stack export`, and every backup of a state."""
        self.exported = list(self.engine.state)

    @precondition(lambda self: self.exported)
    @rule()
    def import_(self) -> None:
        """`pulumi stack import` of an older state, whose sets may be gone by now."""
        self.engine.state = list(self.exported)

    @precondition(lambda self: self.failed)
    @rule()
    def up_again(self) -> None:
        self._up({}, NOTHING, force=self.forced)

    @precondition(lambda self: self.engine.state)
    @rule(young=st.booleans())
    def refresh(self, young: bool = False) -> None:
        held = list(self.engine.state)
        self.setenv("SNAPSET_CONSISTENCY_SECONDS", "3600" if young else "0")
        run = self.engine.refresh(boundary=Strike(NOTHING, self.ec2))
        now = {resource.claim: resource.snapshot_ids for resource in self.engine.state}
        for resource in held:
            # A young snapshot that is missing may not be visible yet.
            there = resource.snapshot_ids if young else resource.snapshot_ids & self._now(resource.id).ids
            assert now.get(resource.claim, set()) == there
        assert run.ok, run.error
        self._judge(run)

    @precondition(lambda self: self.engine.state)
    @rule(accident=accidents, oldest_first=st.booleans())
    def destroy(self, accident: Accident = NOTHING, oldest_first: bool = True) -> None:
        with self._befalling(accident) as strike:
            run = self.engine.destroy(boundary=strike, oldest_first=oldest_first)
            assert self.ec2.calls() == [], "there is nothing to ask EC2 for"
        assert not run.ok or not self.engine.state
        self._judge(run, accident)

    @precondition(lambda self: self.taken)
    @rule(newest=st.integers(0, 2), devices=st.sampled_from([(), (ROOT,), (ROOT, DATA)]))
    def change_by_hand(self, newest: int = 0, devices: Sequence[str] = (ROOT, DATA)) -> None:
        """Somebody deletes the snapshots of these devices. Without devices, the set goes to `error`."""
        picked = self._now(list(self.taken)[-1 - newest % len(self.taken)])
        if not devices:
            self.ec2.fail(picked.ids)
        for snapshot_id, snapshot in picked.snapshots.items():
            if snapshot.volume_id in {self.volumes[device] for device in devices}:
                self.ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
                self.gone.add(snapshot_id)
        self.sets = find_sets(self.ec2)
        self.ec2.clear_calls()

    def _now(self, set_id: str) -> SetInEC2:
        return self.sets.get(set_id, SetInEC2())

    def _up(self, edit: Mapping[str, Any], accident: Accident, *, force: bool) -> None:
        self.program = {name: value for name, value in {**self.program, **edit}.items() if value is not None}
        news = {"scope": self.scope, **self.program}
        if "exclude" in news:
            news["exclude_data_volume_ids"] = [self.volumes[device] for device in news.pop("exclude")]
        is_change = "change_id" in news
        shaping = {name: news[name] for name in ("change_id", "instance_id", "scope")} if is_change else news
        shape = json.dumps(shaping, sort_keys=True)
        wanted, before = force or self._wants_another(news), self.sets
        if accident.hidden and (not wanted or self._has_unclaimed(shape)):
            # Only a set that this run itself takes may be hidden from it.
            accident = NOTHING
        with self._befalling(accident) as strike:
            run = self.engine.up(news, boundary=strike, force=force, delete_first=self.delete_first)
        self.forced, self.failed = force, not run.ok
        taken = self._note_taken(shape)
        if wanted:
            self._judge_intent(run, accident, shape, before, taken)
        else:
            assert not taken, "nothing new was wanted"
            assert not run.created
            assert self.engine.live
            if not self._is_good(self.engine.live.id, self.sets):
                assert not run.ok, "there is no backup, and the run says that there is"
                accident = replace(accident, harmless=False)
        self._judge(run, accident)
        if run.ok and accident.claims:
            self._judge_marks()

    def _wants_another(self, news: Mapping[str, Any]) -> bool:
        live = self.engine.live
        if live is None or any(snapshot["state"] == "error" for snapshot in live.outputs["snapshots"]):
            return True
        if len(live.outputs["snapshots"]) < live.outputs["count"]:
            return True
        if live.outputs["outcome"] == "adopted" and self._now(live.id).claims - {live.claim}:
            # Another one holds the set, too, such as the state that an older one was imported over.
            return True
        if news.get("change_id") and news["change_id"] == live.outputs.get("change_id"):
            return False
        shaping = ("triggers", "tags", "exclude_data_volume_ids", "change_id")
        return any((live.outputs.get(name) or None) != news.get(name) for name in shaping)

    def _has_unclaimed(self, shape: str) -> bool:
        return any(found.token == self.tokens.get(shape) and not found.claims for found in self.sets.values())

    @contextmanager
    def _befalling(self, accident: Accident) -> Iterator[Strike]:
        for name, value in accident.patience.items():
            self.setenv(name, value)
        yield Strike(accident, self.ec2)
        self.ec2.clear_faults()
        wait_for_calls(self.ec2)
        self.sets = find_sets(self.ec2)

    def _note_taken(self, shape: str) -> list[str]:
        taken = find_taken(self.ec2)
        for set_id in taken:
            self.taken[set_id] = self.sets[set_id].ids
            token = self.tokens.setdefault(shape, self.sets[set_id].token)
            assert self.sets[set_id].token == token, "two tokens for one intent"
        assert len(set(self.tokens.values())) == len(self.tokens), "one token for two intents"
        return taken

    def _judge_intent(
        self, run: Run, accident: Accident, shape: str, before: Mapping[str, SetInEC2], taken: list[str]
    ) -> None:
        """Each intent has at most one good set: the one in the state, or the one that the next run will adopt."""
        self.open[shape] += taken
        good = {set_id for set_id in self.open[shape] if self._is_good(set_id, self.sets)}
        assert len(good) <= 1, f"{good} for one intent"
        assert run.created or not run.ok
        for made in run.created:
            assert good <= {made.id}, f"{good} besides {made.id}"
            # A set from CreateSnapshots' own answer may still fail. A set that snapset found must not have failed.
            answered_in_error = accident.fails and not accident.faults and made.id in taken
            assert answered_in_error or self._is_good(made.id, self.sets)
            assert made.snapshot_ids == self.taken[made.id]
            if made.id not in taken:
                assert made.outputs["outcome"] == "adopted"
                assert before[made.id].token == self.tokens[shape]
                assert self._is_good(made.id, before)
                assert not before[made.id].claims, "a claimed set was adopted"
            del self.open[shape]

    def _is_good(self, set_id: str, sets: Mapping[str, SetInEC2]) -> bool:
        return set_id in sets and sets[set_id].ids == self.taken[set_id] and not sets[set_id].failed

    def _judge(self, run: Run, accident: Accident = NOTHING) -> None:
        """Check what must hold after every run, even a failed one."""
        assert run.ok or not accident.harmless, run.error
        assert accident.kill or not run.killed
        assert self.ec2.calls("DeleteSnapshot") == []
        there = {snapshot_id for found in self.sets.values() for snapshot_id in found.ids}
        assert there == {snapshot_id for ids in self.taken.values() for snapshot_id in ids} - self.gone
        for resource in self.engine.state:
            assert resource.snapshot_ids - self.gone == self._now(resource.id).ids
        self.recorded |= {resource.claim: resource for resource in run.created}
        for set_id, found in self.sets.items():
            for snapshot_id, snapshot in found.snapshots.items():
                for claim in snapshot.claims:
                    self._judge_claim(set_id, snapshot_id, claim)
        self.ec2.clear_calls()

    def _judge_claim(self, set_id: str, snapshot_id: str, claim: str) -> None:
        """Only a resource claims a set, and what one has claimed nobody claims again, but the one that took it."""
        holder = self.recorded.get(claim)
        assert holder, "claimed, and in no state"
        assert holder.id == set_id
        before = self.claimed.setdefault(snapshot_id, claim)
        assert claim == before or holder.outputs["outcome"] == "created", "claimed twice"
        self.claimed[snapshot_id] = claim

    def _judge_marks(self) -> None:
        live = self.engine.live
        assert live
        there = self._now(live.id).snapshots
        for record in live.outputs["snapshots"]:
            if record["snapshot_id"] in there:
                marks = there[record["snapshot_id"]].tags
                assert marks[tags.CLAIM] == live.claim
                assert marks[tags.DEVICE] == record["device_name"]


@pytest.fixture
def machine(embedded_ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], OneSet]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # A provider checks whether its engine, which its arguments name, still runs. Here there is no engine.
    monkeypatch.setattr("sys.argv", ["provider"])
    # Raise errors unchanged, not shortened to one line for Pulumi.
    monkeypatch.setenv("SNAPSET_DEBUG", "1")
    monkeypatch.setenv("SNAPSET_READ_SECONDS", "1" if THOROUGH else "20")
    monkeypatch.setattr(wait, "_SHORTEST_PAUSE", 0.05)
    monkeypatch.setattr(clock, "_here", clock_ahead.read)
    _clients_for.cache_clear()
    yield partial(OneSet, embedded_ec2, monkeypatch.setenv)
    _clients_for.cache_clear()


def test_each_intent_gets_exactly_one_set_whatever_fails(machine: Any) -> None:
    run_state_machine_as_test(machine, settings=SETTINGS)


@pytest.mark.parametrize("accident", [*KILLS, *NO_ANSWERS, *REFUSALS, *SLOW], ids=lambda accident: accident.name)
def test_an_accident_in_any_run_neither_loses_a_set_nor_makes_a_second_one(
    machine: Any, accident: Accident, monkeypatch: pytest.MonkeyPatch
) -> None:
    if accident in SLOW:
        monkeypatch.setenv("SNAPSET_READ_SECONDS", "1")
    stack = machine()
    for run in (stack.up, partial(stack.up, {"triggers": 1}), stack.replace):
        run(accident=accident)
        if stack.failed:
            stack.up_again()
    stack.turn_the_order_of_replacements()
    stack.replace(accident)
    if stack.failed:
        stack.up_again()
    stack.destroy(accident)
    if stack.engine.state:
        stack.destroy()


UNCLAIMED, HALF_CLAIMED = killed(RECORDED), killed(f"after {TAG}")
NOT_CLAIMED = denied(TAG, f"before {TAG}", claims=False)
IMPORT = [("import_",), ("up",)]


@pytest.mark.parametrize(
    "runs",
    [
        [("up", {}, NOT_CLAIMED), ("replace", NOT_CLAIMED), ("up",)],
        [("up", {}, UNCLAIMED), ("replace", NOT_CLAIMED), ("up",)],
        [("up", {}, UNCLAIMED), ("replace", unseen()), ("up",)],
        [("up", {}, UNCLAIMED), ("replace", UNCLAIMED), ("up", {}, NOT_CLAIMED), ("up",)],
        [("up", {}, UNCLAIMED), ("replace", UNCLAIMED), ("up", {}, UNCLAIMED), ("destroy",), ("up",)],
        [("up", {}, UNCLAIMED), ("replace", UNCLAIMED), ("destroy", NOTHING, False), ("up",)],
        [("up", {}, UNCLAIMED), ("replace", HALF_CLAIMED), ("destroy",), ("up",)],
        [("up", {}, UNCLAIMED), ("replace", UNCLAIMED), ("up", {"triggers": 1}), ("up", {"triggers": None})],
        [("up", {}, UNCLAIMED), ("export",), ("replace",), *IMPORT],
        # The second run adopts; the third one, too, and claims, and an older state is imported over its own.
        [("up", {}, UNCLAIMED), ("destroy",), ("up", {}, UNCLAIMED), ("export",), ("destroy",), ("up",), *IMPORT],
    ],
    ids=lambda runs: "-".join(run[0] for run in runs),
)
def test_a_set_that_two_resources_come_to_hold_stays_and_is_claimed_by_one(machine: Any, runs: Any) -> None:
    stack = machine()
    for name, *arguments in runs:
        getattr(stack, name)(*arguments)
