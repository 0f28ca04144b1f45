"""What can go wrong in one run of the engine model: at one boundary, the run is killed, or EC2 starts to fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snapset.emulator.client import EmbeddedEC2

from support.engine_model import CREATED, DELETED, PROGRAM_ENDED, RECORDED, Killed

CREATE, TAG, DESCRIBE = "CreateSnapshots", "CreateTags", "DescribeSnapshots"


@dataclass(frozen=True)
class Accident:
    """One accident.

    at, nth: it happens the nth time that the run reaches this boundary.
    kill: the engine and all of its processes are killed.
    faults: EC2's faults from then on, until the run ends.
    fails: the next set goes to `error`.
    hidden: for how many seconds DescribeSnapshots omits a new snapshot; the run allows for more.
    patient: the run retries throttled calls.
    harmless: the run must succeed nevertheless.
    claims: whether the run can claim the set that it recorded.
    """

    name: str
    at: str = ""
    nth: int = 1
    kill: bool = False
    faults: tuple[Mapping[str, Any], ...] = ()
    fails: bool = False
    hidden: float = 0.0
    patient: bool = False
    harmless: bool = False
    claims: bool = True

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        # Hypothesis prints accidents with this.
        printer.text(self.name)

    @property
    def patience(self) -> dict[str, str]:
        """The environment variables that make the run wait for this accident, and for nothing else."""
        return {
            "SNAPSET_CONSISTENCY_SECONDS": "5" if self.hidden else "0",
            "SNAPSET_THROTTLE_SECONDS": "30" if self.patient else "0",
            # wait_for_calls() lets every call end before the next run.
            "SNAPSET_LATE_SECONDS": "0",
        }


class Strike:
    """Makes an accident happen; called at each boundary of a run."""

    def __init__(self, accident: Accident, ec2: EmbeddedEC2) -> None:
        self._accident = accident
        self._ec2 = ec2
        self._times = 0

    def __call__(self, boundary: str) -> None:
        accident = self._accident
        if boundary != accident.at:
            return
        self._times += 1
        if self._times != accident.nth:
            return
        if accident.fails:
            self._ec2.fail()
        if accident.hidden:
            self._ec2.settings(visibility_seconds=accident.hidden)
        for fault in accident.faults:
            self._ec2.fault(**fault)
        if accident.kill:
            raise Killed


def killed(at: str, nth: int = 1) -> Accident:
    return Accident(f"killed({at!r}, {nth})", at=at, nth=nth, kill=True)


def denied(action: str, at: str, nth: int = 1, *, claims: bool = True) -> Accident:
    faults = ({"action": action, "kind": "deny"},)
    return Accident(f"denied({action!r}, {at!r}, {nth}, {claims=})", at=at, nth=nth, faults=faults, claims=claims)


def unanswered(*kinds: str, blind: bool = False, **options: Any) -> Accident:
    """The next calls of CreateSnapshots get these faults, one each; `blind` denies every look for the set."""
    faults = [{"action": CREATE, "kind": kind} for kind in kinds]
    faults += [{"action": DESCRIBE, "kind": "deny"}] if blind else []
    return _while_creating(f"unanswered{kinds}", *faults, **options)


def throttled(**options: Any) -> Accident:
    fault = {"action": CREATE, "kind": "error", "code": "RequestLimitExceeded"}
    return _while_creating("throttled", fault, **options)


def late(kind: str, **options: Any) -> Accident:
    """The answer comes after snapset's read time-out."""
    return _while_creating(f"late({kind!r})", {"action": CREATE, "kind": kind, "seconds": 1.5}, **options)


def unseen() -> Accident:
    """The program's first DescribeSnapshots is throttled, and so are boto3's retries."""
    fault = {"action": DESCRIBE, "kind": "error", "code": "RequestLimitExceeded", "times": 3}
    return Accident("unseen()", at=RECORDED, faults=(fault,), claims=False)


def repeated(action: str, kind: str) -> Accident:
    """The first call of an action fails; the action is safe to repeat."""
    faults = ({"action": action, "kind": kind},)
    return Accident(f"repeated({action!r}, {kind!r})", at=f"before {action}", faults=faults, harmless=True)


def _while_creating(name: str, *faults: Mapping[str, Any], **options: Any) -> Accident:
    full_name = " ".join([name, *(f"{option}={value}" for option, value in options.items())])
    return Accident(full_name, at=f"before {CREATE}", faults=faults, **options)


NOTHING = Accident("NOTHING", harmless=True)

KILLS = [
    killed(f"before {CREATE}"),
    killed(f"after {CREATE}"),
    killed(CREATED),
    killed(RECORDED),
    killed(f"after {TAG}", 1),
    killed(f"after {TAG}", 2),
    killed(PROGRAM_ENDED),
    killed(DELETED),
]
NO_ANSWERS = [
    unanswered("error"),
    unanswered("close_before"),
    unanswered("error", "close_before", "error"),
    unanswered("error_after", harmless=True),
    unanswered("close_after", harmless=True),
    unanswered("error", "error_after", harmless=True),
    unanswered("error_after", hidden=0.3, harmless=True),
    unanswered("close_after", hidden=0.3, harmless=True),
    unanswered(hidden=0.3, harmless=True),
    unanswered(fails=True),
    unanswered("close_after", fails=True),
    unanswered("close_after", blind=True),
    unanswered("close_after", blind=True, fails=True),
]
REFUSALS = [
    throttled(),
    denied(CREATE, f"before {CREATE}"),
    denied(TAG, f"before {TAG}", claims=False),
    denied(TAG, f"after {TAG}", claims=False),
    denied(DESCRIBE, RECORDED, claims=False),
]
# Each of these takes a second or more.
SLOW = [
    throttled(patient=True, harmless=True),
    late("delay_after", harmless=True),
    late("delay"),
    repeated(TAG, "error"),
    unseen(),
]
