"""Turn AWS's error codes and botocore's exceptions into snapset's own errors, once, at the boundary.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from snapset import errors
from snapset.text import clean

INVALID_INSTANCE_NOT_FOUND = "InvalidInstanceID.NotFound"
INVALID_SNAPSHOT_IN_USE = "InvalidSnapshot.InUse"
INVALID_IMAGE_NAME_DUPLICATE = "InvalidAMIName.Duplicate"
DRY_RUN_OPERATION = "DryRunOperation"
# Of a ClientToken whose request was another one, or whose resource was deleted since.
IDEMPOTENT_PARAMETER_MISMATCH = "IdempotentParameterMismatch"
# What soon after a detach or a stop may pass: not every part of EC2 knows of it yet.
PASSING_STATE_CODES = frozenset({"IncorrectInstanceState", "IncorrectState", "VolumeInUse"})

# "Not now": the call did not happen. The seconds are what AWS asks to wait for; None where it names none.
THROTTLE_CODES: dict[str, float | None] = {
    "RequestLimitExceeded": None,
    "Throttling": None,
    "ThrottlingException": None,
    "RequestThrottled": None,
    "SnapshotCreationPerVolumeRateExceeded": 15.0,
    # Too many snapshots are pending, for minutes at least.
    "ConcurrentSnapshotLimitExceeded": 60.0,
    "PendingSnapshotLimitExceeded": 60.0,
    # AWS has no room for it in the zone at present.
    "InsufficientHostCapacity": 15.0,
    "InsufficientInstanceCapacity": 15.0,
    "InsufficientVolumeCapacity": 15.0,
}
# The caller is known but lacks a permission.
PERMISSION_CODES = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
# The caller's credentials are refused.
CREDENTIAL_CODES = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
# The account is refused, with what to do about it.
ACCOUNT_CODES = {
    "Blocked": "AWS has blocked the account: ask AWS Support",
    "OptInRequired": "Enable the Region or the service for this account",
    "PendingVerification": "Wait until AWS has verified the account",
}
# Server faults: an answer that does not say whether the call happened.
SERVER_FAULT_CODES = frozenset(
    {"InternalError", "InternalFailure", "ServerInternal", "ServiceUnavailable", "Unavailable"}
)
# What OpenSSL says before a connection is made. Later, a call may have been sent.
_NO_HANDSHAKE = re.compile("CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER|HANDSHAKE_FAILURE|UNSUPPORTED_PROTOCOL")
_HTTP_SERVER_ERROR = 500
_LONGEST_CAUSE = 400
_IMAGE = re.compile(r"\bami-[0-9a-f]+\b")
_ENCODED = "Encoded authorization failure message"


@contextmanager
def reading_answer(doing: str) -> Iterator[None]:
    """Refuse an answer that lacks something. The call has happened, so it must not be made again.

    Raises:
        LateAnswerError: what it has to name is not there.
    """
    try:
        yield
    except KeyError as error:
        raise errors.LateAnswerError(f"{doing}: AWS's answer has no {error.args[0]}.") from error


@contextmanager
def calling_aws(doing: str, *, needs: str) -> Iterator[None]:
    """Translate whatever the AWS call inside raises. Only the call belongs inside, not the parsing of its answer.

    Args:
        doing: gerund, noun and id, such as `describing instance i-0abc`.
        needs: the IAM action that the call needs.

    Raises:
        SnapsetError: the subclass that fits; see `snapset.errors`.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _from_answer(error, doing, needs) from error
    except (BotoCoreError, ResponseParserError, ValueError, OSError, RuntimeError) as error:
        raise _from_failure(error, doing) from error


def no_region(doing: str) -> errors.InputError:
    """Return the error for a call that has no Region to go to."""
    advice = "Set region (--region), aws:region in the stack's config, or AWS_REGION"
    return errors.InputError(f"{doing}: no Region is set. {advice}.")


def _from_failure(error: Exception, doing: str) -> errors.SnapsetError:
    """Return what a call that AWS did not answer has failed at: the first line of the table that fits."""
    import botocore.exceptions as botocore
    from botocore.parsers import ResponseParserError

    files = "Check credential_process, and the files that the AWS settings name"
    table: list[tuple[tuple[type[Exception], ...], type[errors.SnapsetError], str]] = [
        (
            (botocore.ProfileNotFound, botocore.ConfigParseError),
            errors.InputError,
            "Correct the profile or the AWS config file",
        ),
        (
            (
                botocore.CredentialRetrievalError,
                botocore.SSOError,
                botocore.TokenRetrievalError,
                botocore.UnauthorizedSSOTokenError,
                # Botocore's for credentials that are expired once they were renewed.
                RuntimeError,
            ),
            errors.NotPermittedError,
            "Log in again (aws sso login) or renew the credentials",
        ),
        (
            (botocore.EndpointConnectionError, botocore.ConnectTimeoutError, botocore.ProxyConnectionError),
            errors.UnreachableError,
            "Check the network, the Region's name and AWS_ENDPOINT_URL_EC2",
        ),
        ((botocore.HTTPClientError, botocore.ConnectionError, ResponseParserError), errors.LateAnswerError, ""),
        # Last: some of botocore's are OSErrors, too.
        ((json.JSONDecodeError, OSError), errors.InputError, files),
    ]
    if isinstance(error, (botocore.NoCredentialsError, botocore.PartialCredentialsError)):
        advice = "Set AWS_PROFILE, AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or aws:profile in the stack"
        return errors.InputError(f"{doing}: no AWS credentials were found. {advice}.")
    if isinstance(error, botocore.NoRegionError):
        return no_region(doing)
    if isinstance(error, botocore.SSLError) and _NO_HANDSHAKE.search(str(error)):
        advice = "Check the endpoint, and AWS_CA_BUNDLE or aws:customCaBundle"
        return errors.UnreachableError(f"{doing}: TLS: {_one_line(error)}. {advice}.")
    if isinstance(error, botocore.HTTPClientError) and isinstance(error.kwargs.get("error"), ValueError):
        # Of a header: its text is that of the credentials.
        advice = "Look for a line end or a space in the AWS credentials, as a file or a secret store may add it"
        return errors.InputError(f"{doing}: the call was not sent, as a header of it would be invalid. {advice}.")
    # Of a number or a time in an answer. If the endpoint is invalid, nothing was sent.
    is_of_answer = type(error) is ValueError and not str(error).startswith("Invalid endpoint")
    fallback = (errors.LateAnswerError if is_of_answer else errors.InputError, "")
    kind, advice = next((line[1:] for line in table if isinstance(error, line[0])), fallback)
    cause = f"no answer: {_one_line(error)}" if issubclass(kind, errors.NoAnswerError) else _one_line(error)
    return kind(f"{doing}: {cause}." + (f" {advice}." if advice else ""))


def _from_answer(error: Any, doing: str, needs: str) -> errors.SnapsetError:
    response = error.response
    # A role is assumed inside the first call that needs it.
    is_role = error.operation_name == "AssumeRole"
    allow = "sts:AssumeRole, and let the role's trust policy name this caller" if is_role else needs
    given = response.get("Error") or {}
    status: int = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = clean(given.get("Code") or f"HTTP {status}")
    cause = f"{doing}: {code}: {_sentence(given.get('Message') or 'AWS gives no reason')}"
    if code in THROTTLE_CODES:
        return errors.ThrottledError(f"{cause} Try again later.", code=code, asks_for=THROTTLE_CODES[code])
    if code in PERMISSION_CODES:
        return errors.NotPermittedError(f"{cause} Allow {allow}.", code=code)
    if code in CREDENTIAL_CODES:
        return errors.NotPermittedError(f"{cause} Renew or correct the AWS credentials.", code=code)
    if code in ACCOUNT_CODES:
        return errors.NotPermittedError(f"{cause} {ACCOUNT_CODES[code]}.", code=code)
    if code in SERVER_FAULT_CODES or status >= _HTTP_SERVER_ERROR:
        # Without an error document, as from a proxy, botocore takes the status for the code.
        kind = errors.LateAnswerError if code.isdecimal() else errors.NoAnswerError
        return kind(f"{cause} AWS does not say whether the call happened.", code=code)
    if code == INVALID_SNAPSHOT_IN_USE:
        image = _IMAGE.search(cause)
        command = f": aws ec2 deregister-image --image-id {image[0]}" if image else ""
        return errors.InputError(f"{cause} Keep the snapshot, or deregister the image{command}.", code=code)
    if code.endswith(".NotFound"):
        return errors.NotFoundError(f"{cause} Check the id, the Region and the account.", code=code)
    if code.startswith(("Invalid", "Missing", "Unsupported", "Incorrect", "Malformed", "UnknownParameter")):
        return errors.InputError(f"{cause} Correct the input.", code=code)
    if code.endswith("LimitExceeded"):
        advice = "Ask AWS for a higher quota, or delete what is no longer needed"
        return errors.SnapsetError(f"{cause} {advice}.", code=code)
    return errors.SnapsetError(f"{cause} Mend what AWS names, and run it again.", code=code)


def encoded_message_of(message: str | None) -> str | None:
    """Return the encoded reason of a refusal, which only sts:DecodeAuthorizationMessage can read, or None."""
    _, found, encoded = (message or "").partition(_ENCODED)
    return clean(encoded).strip(" :") if found else None


def _sentence(text: str) -> str:
    # The encoded message is kilobytes: `--verbose` shows it.
    text = clean(" ".join(text.split()).partition(_ENCODED)[0]).rstrip()
    return text if text.endswith((".", "!")) else f"{text}."


def _one_line(error: Exception) -> str:
    # An answer that can't be parsed is quoted whole.
    return textwrap.shorten(clean(str(error)), _LONGEST_CAUSE, placeholder=" …").rstrip(".")
