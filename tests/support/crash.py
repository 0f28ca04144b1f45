"""Make one AWS call of a run fail, run again, and check what must be true then."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.calls import Place, places_of
from support.processes import PARTS, Processes
from support.project import Run, sets_among, until
from support.relay import refusing
from support.sample import SOAK

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

# How long to look for a set after a lost answer. The default of 20 seconds would make the tests slow.
KNOBS = {"SNAPSET_CONSISTENCY_SECONDS": "2", "SNAPSET_LATE_SECONDS": "2"}
# The SDK tries every call three times, except CreateSnapshots, which must not be retried.
ATTEMPTS = 3
# Long enough to find and kill a process during the call.
HOLD_SECONDS = 2.0
# LATE_SECONDS is so late that the run has given up, its look-ups included, before the call is carried out.
READ_SECONDS = 0.7
LATE_SECONDS = 3.5

# By failure, and by when it happens: before or after the call is carried out.
FAULTS: dict[tuple[str, str], dict[str, Any]] = {
    ("killed", "before"): {"kind": "delay", "seconds": HOLD_SECONDS},
    ("killed", "after"): {"kind": "delay_after", "seconds": HOLD_SECONDS},
    ("throttled", "before"): {"kind": "error", "code": "RequestLimitExceeded"},
    ("500", "before"): {"kind": "error", "code": "InternalError"},
    ("500", "after"): {"kind": "error_after", "code": "InternalError"},
    ("closed", "before"): {"kind": "close_before"},
    ("closed", "after"): {"kind": "close_after"},
    ("late", "before"): {"kind": "delay", "seconds": LATE_SECONDS},
    ("late", "after"): {"kind": "delay_after", "seconds": HOLD_SECONDS},
}


WHENS = {"b": "before", "a": "after"}


@dataclass(frozen=True)
class Case:
    """One failure: at which call of the run, and before or after it is carried out."""

    step: str
    place: Place
    failure: str
    when: str

    @property
    def kills(self) -> bool:
        return self.failure in PARTS


def whens_of(failure: str) -> list[str]:
    """When a failure can come."""
    kind = "killed" if failure in PARTS else failure
    return ["before"] if kind == "refused" else [when for name, when in FAULTS if name == kind]


def cases_of(table: str, begins: Mapping[str, str]) -> Iterator[tuple[str, Case]]:
    """The name and case of each cell. A row is `STEP ACTION NUMBER`, then one cell per heading.

    A cell is `b` if the failure comes before the call is carried out, `a` if it comes after, `ba` for both cases, `.`
    for none, and `-` if there is no such case. `make soak` tries all that there are. Looks are counted within their
    step: `begins` names the call after which a step begins.
    """
    headings, *rows = (line.split() for line in table.strip().splitlines())
    for step, action, number, *cells in rows:
        place = Place(action, int(number))
        place = replace(place, after=begins.get(step, "")) if place.looks else place
        for failure, cell in zip(headings, cells, strict=True):
            drawn = [WHENS[letter] for letter in cell if letter in WHENS]
            for when in whens_of(failure) if SOAK and cell != "-" else drawn:
                yield f"{step}.{action}.{number}-{failure}-{when}", Case(step, place, failure, when)


@dataclass
class Scene:
    """One stack's runs, an instance, and snapshots of it that snapset did not take and must not touch."""

    ec2: EmbeddedEC2
    instance: LaunchedInstance
    env: dict[str, str]
    folder: Path
    start: Callable[[], subprocess.Popen[str]]
    stack: str
    bystanders: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.processes = Processes(self.env)
        snapshots = self.ec2.ec2().create_snapshots(InstanceSpecification={"InstanceId": self.instance.instance_id})
        self.bystanders = frozenset(snapshot["SnapshotId"] for snapshot in snapshots["Snapshots"])

    def run(self) -> Run:
        with self.start() as process:
            stdout, stderr = process.communicate(timeout=60)
        return Run(process.returncode, stdout, stderr)

    def run_with(self, case: Case) -> Run:
        """Run with this failure, and check that it happened at the right call."""
        self.ec2.clear_calls()
        if case.failure == "refused":
            before = self._calls_before(case.place)
            with refusing(self.ec2.endpoint, after=before) as endpoint, self._environment(endpoint=endpoint):
                run = self.run()
            assert len(self.ec2.calls()) == before
            return run
        fault = FAULTS["killed" if case.kills else case.failure, case.when]
        times = 1 if case.kills or case.place.action == "CreateSnapshots" else ATTEMPTS
        self.ec2.fault(**fault, **case.place.fault, times=times)
        if case.kills:
            run = self._run_and_kill(case)
        else:
            with self._environment(read_seconds=READ_SECONDS if case.failure == "late" else None):
                run = self.run()
        # AWS carries out every call that it has received, even if nobody waits for the answer any more.
        until(lambda: not any(call["fault"] is None and call["status"] is None for call in self.ec2.calls()))
        struck = next(call for call in self.ec2.calls() if call["fault"])
        assert places_of(call for call in self.ec2.calls() if call["n"] <= struck["n"])[-1] == case.place
        assert not struck["dry_run"]
        self.ec2.clear_faults()
        return run

    def run_again(self) -> Run:
        """Clear the lock that a killed engine left, and run once more."""
        if list(self.folder.glob(f"state/.pulumi/locks/organization/{self.stack}/*.json")):
            name = f"organization/{self.stack}"
            command = ["pulumi", "cancel", "--yes", "--non-interactive", "--stack", name]
            subprocess.run(command, cwd=self.folder, env=self.env, check=True, capture_output=True)
        return self.run()

    def recorded(self) -> list[dict[str, Any]]:
        """The snapshot sets in the state, including those that are marked for deletion."""
        state = json.loads((self.folder / f"state/.pulumi/stacks/{self.stack}.json").read_text())
        return sets_among(state["checkpoint"]["latest"].get("resources", []))

    def taken(self) -> dict[str, dict[str, str]]:
        """The tags of every snapshot that snapset took, by id. Fails if another snapshot was deleted."""
        snapshots = self.ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]
        assert self.bystanders <= {snapshot["SnapshotId"] for snapshot in snapshots}
        return {
            snapshot["SnapshotId"]: {tag["Key"]: tag["Value"] for tag in snapshot.get("Tags", [])}
            for snapshot in snapshots
            if snapshot["SnapshotId"] not in self.bystanders
        }

    def assert_exactly_one_set(self) -> dict[str, Any]:
        """Check that EC2 has one complete set, and that the state holds and has claimed it; return its resource."""
        [recorded] = self.recorded()
        taken, outputs = self.taken(), recorded["outputs"]
        assert set(taken) == set(outputs["snapshot_ids"])
        assert {snapshot["volume_id"] for snapshot in outputs["snapshots"]} == set(self.instance.volume_ids.values())
        assert {tags["snapset:set"] for tags in taken.values()} == {recorded["id"]}
        assert {tags.get("snapset:claim") for tags in taken.values()} == {outputs["claim"]}
        assert {snapshot_id: tags["snapset:snapshot"] for snapshot_id, tags in taken.items()} == {
            snapshot_id: snapshot_id for snapshot_id in taken
        }
        assert sorted(tags["snapset:device"] for tags in taken.values()) == sorted(self.instance.volume_ids)
        return recorded

    def _calls_before(self, place: Place) -> int:
        """How many calls a run makes before this one: known from a run in which it is denied."""
        self.ec2.fault(**place.fault, kind="deny")
        self.run().failed()
        actions = [call["action"] for call in self.ec2.calls() if not call["fault"]]
        self.ec2.clear_faults()
        self.ec2.clear_calls()
        return len(actions)

    def _run_and_kill(self, case: Case) -> Run:
        with self.start() as process:
            until(lambda: not self.ec2.faults_left() or process.poll() is not None)
            assert process.poll() is None, process.communicate()
            if case.when == "after":
                until(lambda: any(call["fault"] == "delay_after" for call in self.ec2.calls()))
            self.processes.kill(case.failure)
            done = places_of(call for call in self.ec2.calls() if call["carried_out"])
            assert (case.place in done) == (case.when == "after")
            stdout, stderr = process.communicate(timeout=60)
        # A killed command's engine ends too, but not at once.
        until(lambda: not self.processes.running("engine"))
        return Run(process.returncode, stdout, stderr)

    @contextmanager
    def _environment(self, *, endpoint: str | None = None, read_seconds: float | None = None) -> Iterator[None]:
        before = dict(self.env)
        if endpoint:
            self.env["AWS_ENDPOINT_URL_EC2"] = endpoint
        if read_seconds:
            self.env["SNAPSET_READ_SECONDS"] = str(read_seconds)
        try:
            yield
        finally:
            self.env.clear()
            self.env.update(before)
