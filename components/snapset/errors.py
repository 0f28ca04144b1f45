"""What can go wrong, as one tree, with the exit code of the command line.

    SnapsetError                 exit 1
    ├── InputError               exit 2   bad input or configuration, or AWS refused the request
    │   ├── NotFoundError        exit 2   what the input names does not exist
    │   ├── InstanceGoneError    exit 2   the instance no longer exists, and there is a set of it
    │   └── UnreachableError     exit 2   the endpoint can't be reached: the call did not happen
    ├── NotPermittedError        exit 3   the credentials are refused, or lack a permission
    ├── ThrottledError           exit 1   AWS throttled the call: it did not happen
    ├── NoAnswerError            exit 1   no answer came: the call may or may not have happened
    │   └── LateAnswerError      exit 1   no word of AWS itself: the call may even happen later
    ├── SetFailedError           exit 4   AWS set snapshots to `error`, or some no longer exist
    ├── WaitTimeoutError         exit 4   the wait ended too early: AWS goes on with the snapshots, or volumes
    └── LockedError              exit 5   another run holds the stack's lock

Every message is one line: what was being done, to which resource, the cause with AWS's own code, what to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict

from snapset.text import clean


class SnapsetError(Exception):
    """Base of everything that snapset raises. `str()` of it is one line, fit to show whatever it quotes.

    Attributes:
        code: AWS's error code where AWS gave one, else None.
        exit_code: what the command line ends with.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(clean(message))
        self.code = code


class InputError(SnapsetError):
    """Bad input or configuration, or AWS refused the request as it is. What was made before stays."""

    exit_code = 2


class NotFoundError(InputError):
    """What the input names does not exist."""


class InstanceGoneError(InputError):
    """The instance no longer exists, and there is a set of it.

    Attributes:
        way_back: the commands that bring it back.
    """

    way_back: Sequence[str] = ()


class UnreachableError(InputError):
    """The endpoint can't be reached: the call did not happen."""


class NotPermittedError(SnapsetError):
    """AWS refused the credentials, or they lack the permission that the message names."""

    exit_code = 3


class ThrottledError(SnapsetError):
    """AWS answered that it won't do the call now. The call did not happen; a retry is safe.

    Attributes:
        asks_for: the seconds that AWS asks to wait before a retry, None where it names none.
    """

    def __init__(self, message: str, *, code: str | None = None, asks_for: float | None = None) -> None:
        super().__init__(message, code=code)
        self.asks_for = asks_for


class NoAnswerError(SnapsetError):
    """No answer came (5xx, time-out, closed connection): the call may or may not have happened."""


class LateAnswerError(NoAnswerError):
    """AWS itself said nothing (time-out, closed connection, a proxy's 502): the call may happen yet."""


class SetFailedError(SnapsetError):
    """AWS set snapshots of a set to `error`, or some no longer exist: there is no backup."""

    exit_code = 4


class WaitTimeoutError(SnapsetError):
    """The wait ended before the snapshots, or the restored volumes, were ready. AWS goes on with them."""

    exit_code = 4


class LockedError(SnapsetError):
    """Another run holds the stack's lock."""

    exit_code = 5


_CLASSES = {name: value for name, value in list(globals().items()) if name.endswith("Error")}
_SHOWN = re.compile(rf"\b({'|'.join(_CLASSES)}): (.*)", re.DOTALL)


class ErrorRecord(TypedDict):
    """An error as a state has it. `type` is the name of its class, `code` AWS's error code or null."""

    type: str
    message: str
    code: str | None


def record_of(error: SnapsetError) -> ErrorRecord:
    """Return the error as a state has it."""
    return ErrorRecord(type=type(error).__name__, message=str(error), code=error.code)


def from_record(record: Mapping[str, Any]) -> SnapsetError:
    """Return the error that a state has."""
    known: type[SnapsetError] = _CLASSES.get(record["type"], SnapsetError)
    return known(record["message"], code=record.get("code"))


def show(error: SnapsetError) -> str:
    """Return the error as `Name: message`, the form in which it crosses Pulumi's engine."""
    return f"{type(error).__name__}: {error}"


def parse_shown(text: str) -> SnapsetError | None:
    """Return the error in a line that the engine printed, or None if it has none."""
    match = _SHOWN.search(text)
    return _CLASSES[match[1]](match[2].strip()) if match else None
