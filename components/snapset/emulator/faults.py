"""Scripted faults: decides which fault hits which call. The middleware carries them out.

    error          an error instead of the call: throttling, a 500, any code
    error_after    the call is carried out, but the answer is an error
    close_before   the connection is closed without an answer, and the call is not carried out
    close_after    the call is carried out, then the connection is closed without an answer
    delay          the call is carried out late
    delay_after    the call is carried out at once and answered late
    deny           UnauthorizedOperation, for a DryRun too
    rate           RequestLimitExceeded whenever the token bucket is empty

`deny` and `rate` last until the script is cleared. The others hit one call unless `times` says otherwise. Codes
are EC2's: STS and EBS direct answer UnauthorizedOperation, RequestLimitExceeded and InternalError by their own names.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

KINDS = ("error", "error_after", "close_before", "close_after", "delay", "delay_after", "deny", "rate")

_LASTING = ("deny", "rate")

_STATUS = {
    "AccessDenied": 403,
    "AccessDeniedException": 403,
    "InternalError": 500,
    "InternalFailure": 500,
    "InternalServerException": 500,
    "RequestLimitExceeded": 503,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 402,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
}
_OWN_CODES = {
    "ebs": {
        "InternalError": "InternalServerException",
        "RequestLimitExceeded": "RequestThrottledException",
        "UnauthorizedOperation": "AccessDeniedException",
    },
    "sts": {"UnauthorizedOperation": "AccessDenied"},
}


@dataclass(frozen=True)
class Fault:
    """One scripted fault.

    action: the action that it hits, `*` for every action.
    kind: one of those above.
    code, status, message: the error's; by default a 500 InternalError, or what the kind implies.
    reason: the Reason of an error of EBS direct; by default the usual one of its code.
    seconds: the length of a delay.
    times: how many calls it hits; None, which is `null` in JSON: every call until the script is cleared.
    skip: how many matching calls pass first.
    after: the call that comes before, such as `CreateVolume 3`: the third CreateVolume, dry runs not counted.
    match: a string that some parameter of the call contains, or such strings by parameter name.
    bucket, refill_per_second: the tokens of a `rate`.
    """

    kind: str
    action: str = "*"
    code: str = ""
    status: int = 0
    message: str = ""
    reason: str = ""
    seconds: float = 0.0
    times: int | None = None
    skip: int = 0
    after: str = ""
    match: str | Mapping[str, str] = field(default_factory=dict)
    bucket: float = 0.0
    refill_per_second: float = 0.0

    def matches(self, action: str, params: Mapping[str, str]) -> bool:
        """Whether it applies to a call of this action with these parameters."""
        if self.action not in ("*", action):
            return False
        if isinstance(self.match, str):
            return any(self.match in value for value in params.values())
        return all(text in params.get(name, "") for name, text in self.match.items())

    def of_service(self, service: str) -> "Fault":
        """The same fault, in the service's own words."""
        code = _OWN_CODES.get(service, {}).get(self.code)
        return replace(self, code=code, status=_STATUS.get(code, 400)) if code else self


def read_fault(entry: Mapping[str, object]) -> Fault:
    """The fault that this JSON object describes; raises ValueError if it is invalid."""
    unknown = set(entry) - set(Fault.__dataclass_fields__)
    if unknown:
        raise ValueError(f"unknown fields of a fault: {', '.join(sorted(unknown))}")
    kind = entry.get("kind")
    if kind not in KINDS:
        raise ValueError(f"unknown kind of fault: {kind!r}; known: {', '.join(KINDS)}")
    after = str(entry.get("after") or "")
    if after and not re.fullmatch(r"[A-Za-z]+ [1-9]\d*", after):
        raise ValueError(f"not a call that a fault may come after, such as `CreateVolume 3`: {after!r}")
    given = {name: value for name, value in entry.items() if value is not None or name == "times"}
    if kind not in _LASTING:
        given.setdefault("times", 1)
    if kind == "rate":
        given.setdefault("code", "RequestLimitExceeded")
    given.setdefault("code", "UnauthorizedOperation" if kind == "deny" else "InternalError")
    given.setdefault("status", _STATUS.get(str(given["code"]), 400))
    return Fault(**given)  # type: ignore[arg-type]


class Script:
    """The active faults, in the order they were added. A call gets the first one that matches it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: list[_Entry] = []

    def add(self, fault: Fault) -> None:
        """Add a fault after the others."""
        self._entries.append(_Entry(fault, self._clock()))

    def clear(self) -> None:
        """Remove all faults."""
        self._entries = []

    def take(self, action: str, params: Mapping[str, str]) -> Fault | None:
        """The fault that hits this call, or None. It counts as used once."""
        hits = (entry for entry in self._entries if entry.fault.matches(action, params))
        fault = next((entry.fault for entry in hits if entry.strikes(self._clock())), None)
        if params.get("DryRun", "").lower() != "true":
            for entry in self._entries:
                entry.note(action)
        return fault

    def remaining(self) -> list[tuple[Fault, float]]:
        """The active faults, and how many more calls each will hit (may be infinite)."""
        return [(entry.fault, entry.times) for entry in self._entries if entry.times > 0]


class _Entry:
    def __init__(self, fault: Fault, now: float) -> None:
        self.fault = fault
        self.times = math.inf if fault.times is None else fault.times
        self._skip = fault.skip
        self._after, _, number = fault.after.partition(" ")
        self._awaited = int(number or 0)
        self._tokens = fault.bucket
        self._refilled = now

    def note(self, action: str) -> None:
        """Count a call that it may wait for."""
        if action == self._after:
            self._awaited -= 1

    def strikes(self, now: float) -> bool:
        """Whether it hits a call that matches it. Counts the call."""
        if self._awaited > 0:
            return False
        if self._skip > 0:
            self._skip -= 1
            return False
        if self.times <= 0 or (self.fault.kind == "rate" and self._has_token(now)):
            return False
        self.times -= 1
        return True

    def _has_token(self, now: float) -> bool:
        refill = (now - self._refilled) * self.fault.refill_per_second
        self._tokens, self._refilled = min(self.fault.bucket, self._tokens + refill), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
