"""What can go wrong, as one tree, and the AWS error codes that snapset knows.

    SnapsetError                 exit 1
    ├── InputError               exit 2   bad input or configuration; nothing was created
    │   ├── NotFoundError        exit 2   what the input names does not exist
    │   └── UnreachableError     exit 2   the endpoint can't be reached: the call did not happen
    ├── NotPermittedError        exit 3   the credentials are refused, or lack a permission
    ├── ThrottledError           exit 1   AWS answered "not now": the call did not happen
    ├── NoAnswerError            exit 1   no answer came: the call may or may not have happened
    │   └── LateAnswerError      exit 1   the answer took too long: the call may even happen later
    ├── SetFailedError           exit 4   AWS set the snapshots to `error`
    ├── WaitTimeoutError         exit 4   the wait ended before the snapshots did; they go on
    └── LockedError              exit 5   another run holds the stack

Every message is one line: what was being done, to which resource, the cause with AWS's own code, what to do.
Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

import re
from typing import ClassVar

INVALID_INSTANCE_NOT_FOUND = "InvalidInstanceID.NotFound"
INVALID_INSTANCE_MALFORMED = "InvalidInstanceID.Malformed"
INVALID_SNAPSHOT_NOT_FOUND = "InvalidSnapshot.NotFound"
INVALID_SNAPSHOT_IN_USE = "InvalidSnapshot.InUse"
DRY_RUN_OPERATION = "DryRunOperation"
UNAUTHORIZED_OPERATION = "UnauthorizedOperation"

PER_VOLUME_RATE_EXCEEDED = "SnapshotCreationPerVolumeRateExceeded"
CONCURRENT_LIMIT_EXCEEDED = "ConcurrentSnapshotLimitExceeded"
PENDING_LIMIT_EXCEEDED = "PendingSnapshotLimitExceeded"
THROTTLE_CODES = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "RequestThrottled",
        PER_VOLUME_RATE_EXCEEDED,
        CONCURRENT_LIMIT_EXCEEDED,
        PENDING_LIMIT_EXCEEDED,
    }
)

# The caller is known but may not, or the caller's credentials are refused.
PERMISSION_CODES = frozenset({UNAUTHORIZED_OPERATION, "AccessDenied", "AccessDeniedException", "Blocked"})
CREDENTIAL_CODES = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "OptInRequired",
        "PendingVerification",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)

# Server faults: an answer that does not say whether the call happened.
SERVER_FAULT_CODES = frozenset(
    {"InternalError", "InternalFailure", "ServerInternal", "ServiceUnavailable", "Unavailable"}
)


class SnapsetError(Exception):
    """Base of everything that snapset raises. `str()` of it is one line that is fit to show.

    Attributes:
        code: AWS's error code where AWS gave one, else None.
        exit_code: what the command line ends with.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class InputError(SnapsetError):
    """An input, the configuration, or both, can't lead to a snapshot set. Nothing was created."""

    exit_code = 2


class NotFoundError(InputError):
    """What the input names does not exist."""


class UnreachableError(InputError):
    """No connection to the endpoint came about: the call did not happen."""


class NotPermittedError(SnapsetError):
    """AWS refused the credentials, or they lack the permission that the message names."""

    exit_code = 3


class ThrottledError(SnapsetError):
    """AWS answered that it won't do the call now. The call did not happen; a retry is safe."""


class NoAnswerError(SnapsetError):
    """No answer came (5xx, time-out, closed connection): the call may or may not have happened."""


class LateAnswerError(NoAnswerError):
    """The answer took longer than the read time-out: the call may have happened, or may happen yet."""


class SetFailedError(SnapsetError):
    """AWS set the snapshots of a set to `error`: there is no backup."""

    exit_code = 4


class WaitTimeoutError(SnapsetError):
    """The wait ended before the snapshots completed. The snapshots go on."""

    exit_code = 4


class LockedError(SnapsetError):
    """Another run holds the stack."""

    exit_code = 5


_CLASSES = {
    each.__name__: each
    for each in (
        SnapsetError,
        InputError,
        NotFoundError,
        UnreachableError,
        NotPermittedError,
        ThrottledError,
        NoAnswerError,
        LateAnswerError,
        SetFailedError,
        WaitTimeoutError,
        LockedError,
    )
}
_SHOWN = re.compile(rf"\b({'|'.join(_CLASSES)}): (.*)", re.DOTALL)


def show(error: SnapsetError) -> str:
    """Return the error as `Name: message`, the form in which it crosses Pulumi's engine."""
    return f"{type(error).__name__}: {error}"


def parse_shown(text: str) -> SnapsetError | None:
    """Return the error that a text of Pulumi's shows, or None if it shows none."""
    match = _SHOWN.search(text)
    return _CLASSES[match[1]](match[2].strip()) if match else None
