"""Turn AWS's error codes and botocore's exceptions into snapset's own errors, once, at the boundary.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from snapset import errors

INVALID_INSTANCE_NOT_FOUND = "InvalidInstanceID.NotFound"
INVALID_SNAPSHOT_IN_USE = "InvalidSnapshot.InUse"
DRY_RUN_OPERATION = "DryRunOperation"

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
_HTTP_SERVER_ERROR = 500


@contextmanager
def calling_aws(doing: str, *, needs: str) -> Iterator[None]:
    """Translate whatever the AWS call inside raises. Only the call belongs inside, not the parsing of its answer.

    Args:
        doing: gerund, noun and id, such as `describing instance i-0abc`.
        needs: the IAM action that the call needs.

    Raises:
        SnapsetError: the subclass that fits; see `snapset.errors`.
    """
    import botocore.exceptions as botocore
    from botocore.parsers import ResponseParserError

    try:
        yield
    except botocore.ClientError as error:
        raise _from_answer(error, doing, needs) from error
    except (botocore.NoCredentialsError, botocore.PartialCredentialsError) as error:
        advice = "Set AWS_PROFILE, AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or aws:profile in the stack"
        raise errors.InputError(f"{doing}: no AWS credentials were found. {advice}.") from error
    except (botocore.ProfileNotFound, botocore.ConfigParseError) as error:
        raise errors.InputError(f"{doing}: {error}. Correct the profile or the AWS config file.") from error
    except botocore.NoRegionError as error:
        raise no_region(doing) from error
    except (
        botocore.CredentialRetrievalError,
        botocore.SSOError,
        botocore.TokenRetrievalError,
        botocore.UnauthorizedSSOTokenError,
    ) as error:
        advice = "Log in again (aws sso login) or renew the credentials"
        raise errors.NotPermittedError(f"{doing}: {_one_line(error)}. {advice}.") from error
    except (
        botocore.EndpointConnectionError,
        botocore.ConnectTimeoutError,
        botocore.ProxyConnectionError,
    ) as error:
        advice = "Check the network, the Region's name and AWS_ENDPOINT_URL_EC2"
        raise errors.UnreachableError(f"{doing}: {_one_line(error)}. {advice}.") from error
    except botocore.ReadTimeoutError as error:
        raise errors.LateAnswerError(f"{doing}: no answer: {_one_line(error)}.") from error
    except (botocore.HTTPClientError, botocore.ConnectionError, ResponseParserError) as error:
        raise errors.NoAnswerError(f"{doing}: no answer: {_one_line(error)}.") from error
    except (botocore.BotoCoreError, ValueError) as error:
        raise errors.InputError(f"{doing}: {_one_line(error)}.") from error


@contextmanager
def dry_run(doing: str, *, needs: str) -> Iterator[None]:
    """Translate what a call with `DryRun` raises, as `calling_aws` does; that it would be allowed is no error."""
    try:
        with calling_aws(doing, needs=needs):
            yield
    except errors.SnapsetError as error:
        if error.code != DRY_RUN_OPERATION:
            raise


def no_region(doing: str) -> errors.InputError:
    """Return the error for a call that has no Region to go to."""
    advice = "Set the region input, aws:region in the stack's config, or AWS_REGION"
    return errors.InputError(f"{doing}: no Region is set. {advice}.")


def _from_answer(error: Any, doing: str, needs: str) -> errors.SnapsetError:
    response = error.response
    # A role is assumed inside the first call that needs it.
    is_role = error.operation_name == "AssumeRole"
    allow = "sts:AssumeRole, and let the role's trust policy name this caller" if is_role else needs
    code: str = response["Error"].get("Code", "Unknown")
    status: int = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    cause = f"{doing}: {code}: {_sentence(response['Error'].get('Message') or '')}"
    if code in THROTTLE_CODES:
        return errors.ThrottledError(f"{cause} Try again later.", code=code, asks_for=THROTTLE_CODES[code])
    if code in PERMISSION_CODES:
        return errors.NotPermittedError(f"{cause} Allow {allow}.", code=code)
    if code in CREDENTIAL_CODES:
        return errors.NotPermittedError(f"{cause} Renew or correct the AWS credentials.", code=code)
    if code in ACCOUNT_CODES:
        return errors.NotPermittedError(f"{cause} {ACCOUNT_CODES[code]}.", code=code)
    if code in SERVER_FAULT_CODES or status >= _HTTP_SERVER_ERROR:
        return errors.NoAnswerError(f"{cause} AWS does not say whether the call happened.", code=code)
    if code == INVALID_SNAPSHOT_IN_USE:
        return errors.InputError(f"{cause} Deregister the image, or keep the snapshot.", code=code)
    if code.endswith(".NotFound"):
        return errors.NotFoundError(f"{cause} Check the id, the Region and the account.", code=code)
    if code.startswith(("Invalid", "Missing", "Unsupported", "Incorrect", "Malformed", "UnknownParameter")):
        return errors.InputError(f"{cause} Correct the input.", code=code)
    return errors.SnapsetError(cause, code=code)


def _sentence(text: str) -> str:
    # The encoded message is kilobytes that only sts:DecodeAuthorizationMessage can read.
    text = " ".join(text.split()).split(" Encoded authorization failure message", maxsplit=1)[0]
    return text if text.endswith((".", "!")) else f"{text}."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
