"""Exactly one set, whatever fails: runs, accidents and changes by hand in any order, on a model of the engine.

`HYPOTHESIS_PROFILE=thorough pytest tests/faults/test_stateful.py` tries more and longer ones, other ones each time.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from snapset.aws.ec2 import connect
from snapset.sets import tags
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
from support.engine_model import RECORDED, Engine, Run
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
DELETE, RETAIN = {"on_delete": "delete"}, {"on_delete": "retain"}
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
    DELETE,
    RETAIN,
    {"triggers": 1, **DELETE},
    {"triggers": 3, **DELETE},
    {"triggers": 1, **RETAIN},
]
# Half of the runs go well and half ask for nothing else than the one before, or a stack would not get far.
edits: st.SearchStrategy[dict[str, Any]] = st.one_of(st.just({}), st.sampled_from(EDITS))
knobs = st.sampled_from([{}, DELETE, RETAIN])
accidents = st.one_of(
    st.just(NOTHING),
    *(st.sampled_from(each) for each in (KILLS, NO_ANSWERS, REFUSALS, *([SLOW] if THOROUGH else []))),
)


class OneSet(RuleBasedStateMachine):
    """A stack with one set: what its user and others do, and what must hold after each run.

    An intent is one wish for a set: a first run, another shape, a forced replacement, a set in place of one in
    `error`. It is open until a state holds a set for it, however many runs that takes.
    """

    def __init__(self, ec2: EmbeddedEC2, setenv: Callable[[str, str], None]) -> None:
        super().__init__()
        self.ec2, self.setenv = ec2, setenv
        ec2.reset()
        instance = ec2.launch([(1, DATA, {})])
        ec2.clear_calls()
        self.volumes = instance.volume_ids
        config = {"aws:region": ec2.region, "aws:endpoints": json.dumps([{"ec2": ec2.endpoint}])}
        self.engine = Engine({**config, "aws:accessKey": "testing", "aws:secretKey": "testing"})
        self.program: dict[str, Any] = {"instance_id": instance.instance_id, **DELETE}
        # What EC2 has, after the last step.
        self.sets: dict[str, SetInEC2] = {}
        # Whether the last `up` failed, and whether it was to replace the set.
        self.failed = self.forced = False
        # The snapshots of every set that was ever taken, in order; and those of them that are gone and may be.
        self.taken: dict[str, set[str]] = {}
        self.gone: set[str] = set()
        # For every shape its token, and the sets that were taken for its open intent.
        self.tokens: dict[str, str] = {}
        self.open: defaultdict[str, list[str]] = defaultdict(list)
        # The set of every claim that was ever in the state, and the claim of every snapshot that ever had one.
        self.recorded: dict[str, str] = {}
        self.claimed: dict[str, str] = {}

    @rule(edit=edits, accident=accidents)
    def up(self, edit: Mapping[str, Any] = {}, accident: Accident = NOTHING) -> None:
        self._up(edit, accident, force=False)

    @precondition(lambda self: self.engine.live)
    @rule(edit=knobs, accident=accidents)
    def replace(self, edit: Mapping[str, Any] = {}, accident: Accident = NOTHING) -> None:
        self._up(edit, accident, force=True)

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
        now = {each.claim: each.snapshot_ids for each in self.engine.state}
        for each in held:
            # What is missing and young may only not be visible yet.
            there = each.snapshot_ids if young else each.snapshot_ids & self._now(each.id).ids
            assert now.get(each.claim, set()) == there
        assert run.ok, run.error
        self._judge(run)

    @precondition(lambda self: self.engine.state)
    @rule(accident=accidents, oldest_first=st.booleans())
    def destroy(self, accident: Accident = NOTHING, oldest_first: bool = True) -> None:
        with self._befalling(accident) as strike:
            run = self.engine.destroy(boundary=strike, oldest_first=oldest_first)
        assert not run.ok or not self.engine.state
        self._judge(run, accident)

    @precondition(lambda self: self.taken)
    @rule(newest=st.integers(0, 2), devices=st.sampled_from([(), (ROOT,), (ROOT, DATA)]))
    def change_by_hand(self, newest: int = 0, devices: Sequence[str] = (ROOT, DATA)) -> None:
        """Somebody deletes the snapshots of these devices; of none: the set goes to `error`."""
        picked = self._now(list(self.taken)[-1 - newest % len(self.taken)])
        if not devices:
            self.ec2.fail(picked.ids)
        for snapshot_id, each in picked.snapshots.items():
            if each.volume_id in {self.volumes[device] for device in devices}:
                self.ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
                self.gone.add(snapshot_id)
        self.sets = find_sets(self.ec2)
        self.ec2.clear_calls()

    def _now(self, set_id: str) -> SetInEC2:
        return self.sets.get(set_id, SetInEC2())

    def _up(self, edit: Mapping[str, Any], accident: Accident, *, force: bool) -> None:
        self.program = {name: value for name, value in {**self.program, **edit}.items() if value is not None}
        news = {"scope": "org/project/stack/backup", **self.program}
        if "exclude" in news:
            news["exclude_data_volume_ids"] = [self.volumes[device] for device in news.pop("exclude")]
        shape = json.dumps({name: value for name, value in news.items() if name != "on_delete"}, sort_keys=True)
        wanted, before = force or self._wants_another(news), self.sets
        if accident.hidden and (not wanted or self._has_unclaimed(shape)):
            # Only a set that this very run takes may be hidden from it.
            accident = NOTHING
        with self._befalling(accident) as strike:
            run = self.engine.up(news, boundary=strike, force=force)
        self.forced, self.failed = force, not run.ok
        taken = self._note_taken(shape)
        if wanted:
            self._judge_intent(run, accident, shape, before, taken)
        else:
            assert not taken, "nothing new was wanted"
            assert not run.created
        self._judge(run, accident, program=news)
        if run.ok and accident.claims:
            self._judge_marks()

    def _wants_another(self, news: Mapping[str, Any]) -> bool:
        live = self.engine.live
        if live is None or any(each["state"] == "error" for each in live.outputs["snapshots"]):
            return True
        if news.get("change_id") and news["change_id"] == live.outputs.get("change_id"):
            return False
        shaping = ("triggers", "tags", "exclude_data_volume_ids", "change_id")
        return any((live.outputs.get(name) or None) != news.get(name) for name in shaping)

    def _has_unclaimed(self, shape: str) -> bool:
        return any(each.token == self.tokens.get(shape) and not each.claims for each in self.sets.values())

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
        """One intent, one set: the one that the state holds, or the one that the next run will adopt."""
        self.open[shape] += taken
        good = {each for each in self.open[shape] if self._is_good(each, self.sets)}
        assert len(good) <= 1, f"{good} for one intent"
        assert run.created or not run.ok
        for made in run.created:
            assert good <= {made.id}, f"{good} besides {made.id}"
            # What AWS answers with may fail; what snapset finds by a look has not.
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

    def _judge(self, run: Run, accident: Accident = NOTHING, *, program: Mapping[str, Any] | None = None) -> None:
        """What must hold after every run, however it ended."""
        assert run.ok or not accident.harmless, run.error
        assert accident.kill or not run.killed
        self._judge_deletions(run, program)
        there = {snapshot_id for each in self.sets.values() for snapshot_id in each.ids}
        assert there == {snapshot_id for ids in self.taken.values() for snapshot_id in ids} - self.gone
        for held in self.engine.state:
            assert held.snapshot_ids - self.gone == self._now(held.id).ids
        self.recorded |= {each.claim: each.id for each in run.created}
        for set_id, one in self.sets.items():
            for snapshot_id, each in one.snapshots.items():
                if each.claim:
                    assert self.recorded.get(each.claim) == set_id, "claimed, and in no state"
                    assert self.claimed.setdefault(snapshot_id, each.claim) == each.claim, "claimed twice"
        self.ec2.clear_calls()

    def _judge_deletions(self, run: Run, program: Mapping[str, Any] | None) -> None:
        """Deleted is what every holder, and the program if it ran, say may be, and all that those have claimed."""
        held = [each for doomed, others in run.deleting for each in (doomed, *others)]
        for call in self.ec2.calls("DeleteSnapshot"):
            snapshot_id = call["params"]["SnapshotId"]
            holders = [each for each in held if snapshot_id in each.snapshot_ids]
            assert holders, "no resource that was to be deleted holds it"
            assert all(each.outputs["on_delete"] == "delete" for each in holders)
            if program:
                assert program["on_delete"] == "delete"
                assert all(each.marked for each in holders), "the new resource holds it"
            if call["carried_out"]:
                self.gone.add(snapshot_id)
        for each in run.deleted:
            if each.outputs["on_delete"] == "delete" and (not program or program["on_delete"] == "delete"):
                assert each.claim not in self._now(each.id).claims, "not deleted"

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
    # A provider asks whether the engine is there that its command line names, and this one has none.
    monkeypatch.setattr("sys.argv", ["provider"])
    # Errors come as they are, not as Pulumi shows them.
    monkeypatch.setenv("SNAPSET_DEBUG", "1")
    monkeypatch.setenv("SNAPSET_READ_SECONDS", "1" if THOROUGH else "20")
    connect.cache_clear()
    yield partial(OneSet, embedded_ec2, monkeypatch.setenv)
    connect.cache_clear()


def test_there_is_exactly_one_set_for_an_intent_whatever_fails(machine: Any) -> None:
    run_state_machine_as_test(machine, settings=SETTINGS)


@pytest.mark.parametrize("accident", [*KILLS, *NO_ANSWERS, *REFUSALS, *SLOW], ids=lambda accident: accident.name)
def test_an_accident_in_any_run_costs_no_set_and_makes_no_second_one(
    machine: Any, accident: Accident, monkeypatch: pytest.MonkeyPatch
) -> None:
    if accident in SLOW:
        monkeypatch.setenv("SNAPSET_READ_SECONDS", "1")
    stack = machine()
    for run in (partial(stack.up, DELETE), partial(stack.up, {"triggers": 1}), stack.replace):
        run(accident=accident)
        if stack.failed:
            stack.up_again()
    stack.destroy(accident)
    if stack.engine.state:
        stack.destroy()


UNCLAIMED, HALF_CLAIMED = killed(RECORDED), killed(f"after {TAG}")
NOT_CLAIMED = denied(TAG, f"before {TAG}", claims=False)


@pytest.mark.parametrize(
    "runs",
    [
        [("up", DELETE, NOT_CLAIMED), ("replace", {}, NOT_CLAIMED)],
        [("up", DELETE, UNCLAIMED), ("replace", {}, NOT_CLAIMED)],
        [("up", DELETE, UNCLAIMED), ("replace", {}, unseen())],
        [("up", DELETE, UNCLAIMED), ("replace", {}, UNCLAIMED), ("up", {}, NOT_CLAIMED)],
        [("up", DELETE, UNCLAIMED), ("replace", RETAIN, UNCLAIMED), ("destroy", NOTHING, True)],
        [("up", DELETE, UNCLAIMED), ("replace", RETAIN, UNCLAIMED), ("destroy", NOTHING, False)],
        [("up", DELETE, UNCLAIMED), ("replace", RETAIN, HALF_CLAIMED), ("destroy", NOTHING, True)],
        [("up", DELETE, UNCLAIMED), ("replace", {}, UNCLAIMED), ("up", RETAIN, UNCLAIMED), ("destroy",)],
        [("up", DELETE, UNCLAIMED), ("replace", RETAIN, UNCLAIMED), ("up", {"triggers": 1, **DELETE})],
    ],
    ids=lambda runs: "-".join(each[0] for each in runs),
)
def test_a_replaced_resource_never_takes_along_the_set_that_its_replacement_adopted(machine: Any, runs: Any) -> None:
    stack = machine()
    for name, *arguments in runs:
        getattr(stack, name)(*arguments)
