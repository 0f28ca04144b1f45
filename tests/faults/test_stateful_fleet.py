"""A fleet: exactly one set for each reason to take one, whatever fails, in any order, on a model of the engine.

The engine is modelled as this: what a step returns is the state from then on, and a run that is killed during a step
leaves the state as it was. `tests/engine/test_fleet_snapshots.py` kills the real one.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from pulumi.dynamic import Config, ConfigureRequest
from snapset.aws.ec2 import Ec2, connect
from snapset.resources.fleet_set import FleetSetProvider
from snapset.resources.sets_provider import set_of
from snapset.retry import Retry
from snapset.sets.claim import claim_sets
from support.sets import find_sets, find_taken, wait_for_calls

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2

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


NOTHING = Accident()
ACCIDENTS = st.one_of(
    st.just(NOTHING),
    st.builds(
        lambda call, nth, after: Accident(f"killed at {call} {nth}, {after=}", (), call, nth, after),
        st.sampled_from(["create_snapshots", "add_tags"]),
        st.integers(0, SIZE - 1),
        st.booleans(),
    ),
    st.just(Accident("killed before the state was written", unrecorded=True)),
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


class OneSetEach(RuleBasedStateMachine):
    """A stack with a fleet: what its user and others do, and what must hold after each run."""

    def __init__(self, ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.ec2, self.patch = ec2, monkeypatch
        ec2.reset()
        self.fleet = [ec2.launch().instance_id for _ in range(SIZE)]
        config = {"aws:region": ec2.region, "aws:endpoints": json.dumps([{"ec2": ec2.endpoint}])}
        self.config = {**config, "aws:accessKey": "testing", "aws:secretKey": "testing"}
        self.program: dict[str, Any] = {"instance_ids": self.fleet[:2], "on_delete": "delete", "triggers": 0}
        self.scope = "org/shop/prod/web"
        self.state: dict[str, Any] | None = None
        self.gone_by_hand: set[str] = set()
        # What forced replacements were to be recorded with, and were not: only another one takes these sets up.
        self.forced: set[str] = set()

    @rule(
        members=st.none() | st.sets(st.integers(0, SIZE - 1)),
        renew=st.booleans(),
        word=st.sampled_from(["retain", "delete"]),
        accident=ACCIDENTS,
        force=st.sampled_from([False, False, False, True]),
    )
    def up(
        self,
        members: set[int] | None = None,
        renew: bool = False,
        word: str = "delete",
        accident: Accident = NOTHING,
        force: bool = False,
    ) -> None:
        if members is not None:
            self.program["instance_ids"] = [self.fleet[number] for number in sorted(members)]
        self.program["on_delete"] = word
        # Only what the state knows: a trigger that no run has recorded yet stays the same intent.
        if renew and self.state and self.state["triggers"] == self.program["triggers"]:
            self.program["triggers"] += 1
        before = find_sets(self.ec2)
        held = self._held()
        self._run(accident, force=force)
        self._judge(before, held, may_delete=word == "delete", force=force)

    @rule(name=st.sampled_from(["web", "renamed"]))
    def rename(self, name: str = "renamed") -> None:
        """An alias, or the stack's new name: the resource in the state is the same, its next scope another."""
        self.scope = f"org/shop/prod/{name}"

    @precondition(lambda self: self.state)
    @rule()
    def up_again(self) -> None:
        """After a run in which nothing fails, the state holds one whole set of each instance, with its claim."""
        self.up(word=self.program["on_delete"])
        assert self.state
        assert self.state["failures"] == {}
        there = find_sets(self.ec2)
        for instance_id in self.program["instance_ids"]:
            record = self.state["sets"][instance_id]
            assert there[record["set_id"]].ids == set(record["snapshot_ids"])
            assert self.state["claim"] in there[record["set_id"]].claims
        self.ec2.clear_calls()
        self.up(word=self.program["on_delete"])
        assert find_taken(self.ec2) == []

    @precondition(lambda self: self.state and self.state["sets"])
    @rule(number=st.integers(0, SIZE - 1))
    def somebody_deletes_a_set(self, number: int = 0) -> None:
        assert self.state
        instance_id = sorted(self.state["sets"])[number % len(self.state["sets"])]
        record = self.state["sets"][instance_id]
        for snapshot_id in record["snapshot_ids"]:
            if snapshot_id not in self.gone_by_hand:
                self.ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
        self.gone_by_hand |= set(record["snapshot_ids"])
        self.state = dict(self._provider().read(ID, self.state).outs or {})
        assert instance_id not in self.state["sets"]

    def _held(self) -> dict[str, str]:
        return {record["set_id"]: key for key, record in (self.state or {"sets": {}})["sets"].items()}

    def _provider(self) -> FleetSetProvider:
        provider = FleetSetProvider()
        provider.configure(ConfigureRequest(Config(self.config, "shop")))
        return provider

    def _run(self, accident: Accident, *, force: bool) -> None:
        provider = self._provider()
        inputs = {"is_preview": False, "scope": self.scope, "region": "us-east-1", **self.program}
        # For a forced replacement the engine passes no old inputs, and calls no diff().
        checked = provider.check({} if force else self.state or {}, inputs)
        assert checked.failures == []
        for fault in accident.faults:
            self.ec2.fault(**fault)
        with self.patch.context() as patch:
            self._kill_at(accident, patch)
            try:
                self._step(provider, dict(checked.inputs), accident, force=force)
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
        taken = [set_of(record) for record in state["sets"].values()]
        adopted = {record["set_id"] for record in state["sets"].values() if record["outcome"] == "adopted"}
        claim_sets(self._aws(), taken, claim=state["claim"], adopted=adopted, retry=Retry(consistency=0, throttle=5))

    def _aws(self) -> Ec2:
        return connect(self._provider()._settings.in_region("us-east-1"))

    def _judge(self, before: Mapping[str, Any], held: Mapping[str, str], *, may_delete: bool, force: bool) -> None:
        there = find_sets(self.ec2)
        lost = before.keys() - there.keys()
        assert not lost or may_delete
        assert lost <= held.keys(), "deleted, and the state did not hold it"
        # One that nobody holds is adopted by the next run. So there is never more than one for an intent.
        now = self._held()
        waiting = [found.token for set_id, found in there.items() if not found.claims and set_id not in now]
        assert len(waiting) == len(set(waiting)), "two sets for one intent"
        if force:
            self.forced |= set(waiting)
        for set_id in now:
            assert there[set_id].token not in set(waiting) - self.forced, "a set besides the one in the state"
        self.ec2.clear_calls()


def test_each_instance_has_exactly_one_set_for_each_intent_whatever_fails(
    ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name, value in {"CONSISTENCY": "0", "LATE": "0", "THROTTLE": "5"}.items():
        monkeypatch.setenv(f"SNAPSET_{name}_SECONDS", value)
    machine: Any = partial(OneSetEach, ec2, monkeypatch)
    run_state_machine_as_test(machine, settings=SETTINGS)
