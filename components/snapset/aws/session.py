"""Sessions and clients of boto3 for given settings, and whose credentials they use.

With SNAPSET_VERBOSE each call is shown on stderr, with its request id and time: no parameters, no credentials.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from snapset import errors
from snapset.aws import clock
from snapset.aws.api_model import make_loader
from snapset.aws.errors import calling_aws, encoded_message_of, no_region
from snapset.aws.settings import AwsSettings, Role
from snapset.durations import read_seconds
from snapset.text import clean, hide_credentials

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

VERBOSE = "SNAPSET_VERBOSE"

# An unreachable endpoint is given up after three attempts of three seconds: within 15 s, back-off included.
_CONNECT_SECONDS = 3
_READ_SECONDS = 60.0
_ATTEMPTS = 3
_CREDENTIAL_SECONDS = 60.0

_CALL = "snapset_call"
_HTTP_REDIRECT = 300
# The first element of an answer.
_ROOT = re.compile(rb"\s*(?:<\?xml[^>]*\?>)?\s*<([A-Za-z]+)")

_lock = threading.Lock()


def find_region(settings: AwsSettings) -> str:
    """Return the Region that calls with these settings go to.

    Raises:
        InputError: no Region is set anywhere.
    """
    doing = "looking up the Region"
    with calling_aws(doing, needs="nothing"):
        # boto3 knows AWS_DEFAULT_REGION only; the stack's own `aws` provider takes AWS_REGION first.
        region = settings.region or os.environ.get("AWS_REGION") or _session(settings).region_name
    if not region:
        raise no_region(doing)
    return str(region)


def find_caller(settings: AwsSettings) -> str:
    """Return the ARN of the user or role that these settings sign calls as.

    AWS asks no permission for it: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html

    Raises:
        InputError: there are no credentials.
        NotPermittedError: AWS refuses them.
    """
    with calling_aws("asking AWS whose credentials these are", needs="sts:GetCallerIdentity"):
        client = _make_client(settings, "sts", endpoint_url=settings.sts_endpoint_url, retries=True)
        caller = client.get_caller_identity()
    return str(caller["Arn"])


def _find_account(settings: AwsSettings) -> str:
    """Return the account that these settings sign calls for."""
    return find_caller(settings).split(":")[4]


def refuse_other_account(settings: AwsSettings, owner_id: str, *, doing: str) -> None:
    """Refuse to take what was not found for gone unless the credentials are of the account that owns it.

    Args:
        settings: whose credentials it was looked for with.
        owner_id: the account; empty if it is not known.
        doing: gerund and id, for the message.

    Raises:
        NotFoundError: it may exist in another account.
        SnapsetError: whose credentials these are could not be seen.
    """
    account = _find_account(settings)
    if account != owner_id:
        owner = f"account {owner_id}" if owner_id else "an account that is not known"
        raise errors.NotFoundError(
            f"{doing}: it was not found, but it is of {owner}, and the credentials are of {account}. "
            "So it may exist: use credentials of its account."
        )


@lru_cache(maxsize=32)
def _check_account(settings: AwsSettings) -> None:
    """Refuse an account that the stack's settings do not allow.

    Raises:
        InputError: it is forbidden, or not among those that are allowed.
    """
    if not settings.allowed_account_ids and not settings.forbidden_account_ids:
        return
    account = _find_account(settings)
    if account in settings.forbidden_account_ids:
        reason = "is among aws:forbiddenAccountIds"
    elif settings.allowed_account_ids and account not in settings.allowed_account_ids:
        reason = "is not among aws:allowedAccountIds"
    else:
        return
    raise errors.InputError(f"checking the account: {account} {reason}. Use credentials of another account.")


def make_ec2_client(settings: AwsSettings, *, retries: bool) -> EC2Client:
    """Return an EC2 client; with `retries` botocore's standard mode retries what failed.

    Raises:
        InputError: the profile or the Region is missing, or the account is not allowed.
    """
    _check_account(settings)
    with calling_aws("making an EC2 client", needs="nothing"):
        client: EC2Client = _make_client(settings, "ec2", endpoint_url=settings.endpoint_url, retries=retries)
    return client


def _make_client(settings: AwsSettings, service: str, *, endpoint_url: str | None, retries: bool) -> Any:
    from botocore.config import Config

    proxies = {"http": settings.http_proxy, "https": settings.https_proxy}
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=read_seconds("SNAPSET_READ_SECONDS", _READ_SECONDS),
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS if retries else 1},
        # None leaves it to the environment and the AWS config file.
        use_fips_endpoint=settings.use_fips or None,
        use_dualstack_endpoint=settings.use_dualstack or None,
        proxies={scheme: url for scheme, url in proxies.items() if url} or None,
    )
    place = {"region_name": settings.sts_region} if service == "sts" and settings.sts_region else {}
    verify = False if settings.insecure else settings.ca_bundle

    def make() -> Any:
        session = _session(settings)
        client = session.client(service, endpoint_url=endpoint_url, config=config, verify=verify, **place)
        client.meta.events.register("before-sign", partial(_hide_credentials, session.get_credentials()))
        return client

    with _lock:
        client = _in_time(make)
    client.meta.events.register("after-call", _refuse_stranger)
    client.meta.events.register("after-call", _set_clock)
    return _with_calls_shown(client)


def _hide_credentials(credentials: Any, **_: Any) -> None:
    """Let no message show what a call is signed with, wherever it came from; it may be renewed at any call."""
    if credentials:
        signed_with = credentials.get_frozen_credentials()
        hide_credentials(signed_with.secret_key, signed_with.token)


def _in_time(make: Callable[[], Any]) -> Any:
    """Return what `make` does. It looks for credentials, and a credential_process may ask somebody who is not there.

    Raises:
        NotPermittedError: the time is up.
    """
    made: Future[Any] = Future()

    def run() -> None:
        try:
            made.set_result(make())
        except BaseException as error:  # raised again where it is awaited
            made.set_exception(error)

    # Not a pool's: Python would wait for it at the end.
    threading.Thread(target=run, daemon=True).start()
    try:
        return made.result(_CREDENTIAL_SECONDS)
    except FutureTimeoutError:
        if made.done():
            raise
        raise errors.NotPermittedError(
            f"looking for AWS credentials: none came within {_CREDENTIAL_SECONDS:.0f} s. Check credential_process: "
            "it may ask for something."
        ) from None


@lru_cache(maxsize=32)
def _session(settings: AwsSettings) -> Any:
    import boto3
    from botocore.session import Session

    core = Session(profile=settings.profile)
    core.register_component("data_loader", make_loader())
    profile = settings.profile or core.get_config_variable("profile") or "default"
    variables = {
        "config_file": _file_with(profile, settings.config_files),
        "credentials_file": _file_with(profile, settings.credentials_files),
        "ec2_metadata_service_endpoint": settings.metadata_endpoint,
        "ec2_metadata_service_endpoint_mode": settings.metadata_endpoint_mode,
    }
    for name, value in variables.items():
        if value:
            core.set_config_variable(name, value)
    if settings.profile or not (settings.access_key or os.environ.get("AWS_ACCESS_KEY_ID")):
        _refuse_prompt(core, profile)
    if settings.access_key and settings.secret_key:
        core.set_credentials(settings.access_key, settings.secret_key, settings.session_token)
    for role in settings.roles:
        core = _assume(core, role, settings)
    return boto3.Session(botocore_session=core, region_name=settings.region)


def _file_with(profile: str, paths: Sequence[str]) -> str | None:
    """Return the last of the files that has the profile, else the last."""
    from botocore.configloader import raw_config_parse

    def has_profile(path: str) -> bool:
        found: Mapping[str, Any] = raw_config_parse(path) if os.path.exists(os.path.expanduser(path)) else {}
        return bool({profile, f"profile {profile}"} & found.keys())

    return next((path for path in reversed(paths) if has_profile(path)), paths[-1] if paths else None)


def _refuse_prompt(core: Any, profile: str) -> None:
    """Refuse a profile for which botocore would ask for an MFA code: nobody may be there to type it.

    Raises:
        InputError: the profile, or one that it leads to, has an `mfa_serial`.
    """
    profiles = core.full_config.get("profiles", {})
    seen: set[str] = set()
    while profile in profiles and profile not in seen:
        seen.add(profile)
        given = profiles[profile]
        if given.get("role_arn") and given.get("mfa_serial"):
            raise errors.InputError(
                f"using AWS profile {profile}: it has an mfa_serial, and nobody may be there to type the code. "
                "Log in before, such as with `aws sso login`, or export the keys of a session (aws sts assume-role)."
            )
        profile = given.get("source_profile", "")


def _assume(core: Any, role: Role, settings: AwsSettings) -> Any:
    """Return a session that is the role, and renews itself for as long as a wait may take."""
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
    from botocore.exceptions import NoCredentialsError
    from botocore.session import Session

    def create_client(service: str, **options: Any) -> Any:
        region = settings.sts_region or settings.region
        place = {"region_name": region, "endpoint_url": settings.sts_endpoint_url}
        return _with_calls_shown(core.create_client(service, **place, **options))

    source = core.get_credentials()
    if source is None:
        raise NoCredentialsError
    fetcher = AssumeRoleCredentialFetcher(create_client, source, role.arn, extra_args=_role_options(role))
    assumed: Any = Session()
    assumed._credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    return assumed


def _role_options(role: Role) -> dict[str, Any]:
    options = {
        "RoleSessionName": role.session_name,
        "ExternalId": role.external_id,
        "Policy": role.policy,
        "PolicyArns": [{"arn": arn} for arn in role.policy_arns],
        "SourceIdentity": role.source_identity,
        "Tags": [{"Key": key, "Value": value} for key, value in role.tags],
        "TransitiveTagKeys": list(role.transitive_tag_keys),
        "DurationSeconds": role.duration,
    }
    return {name: value for name, value in options.items() if value}


def _refuse_stranger(*, http_response: Any, model: Any, **_: Any) -> None:
    """Refuse what is not AWS's answer, such as the page of a proxy, which botocore takes for one that says nothing.

    Raises:
        ResponseParserError: it has the status of a success, and is not the answer of this call.
    """
    from botocore.parsers import ResponseParserError

    root = _ROOT.match(http_response.content)
    if http_response.status_code < _HTTP_REDIRECT and not (root and root[1] == f"{model.name}Response".encode()):
        raise ResponseParserError(f"a page that is not AWS's: {http_response.content[:80]!r}")


def _set_clock(*, parsed: Mapping[str, Any], **_: Any) -> None:
    clock.set_by(parsed)


def _with_calls_shown(client: Any) -> Any:
    if os.environ.get(VERBOSE):
        events = client.meta.events
        events.register("before-call", _begin_call)
        events.register("after-call", _show_answer)
        events.register("after-call-error", _show_failure)
    return client


def _begin_call(*, model: Any, context: dict[str, Any], **_: Any) -> None:
    context[_CALL] = (model.name, time.monotonic())


def _show_answer(*, parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
    about = parsed.get("ResponseMetadata", {})
    code = parsed.get("Error", {}).get("Code", "")
    retries = about.get("RetryAttempts")
    outcome = f"HTTP {about.get('HTTPStatusCode')} {code}".rstrip() + (f" after {retries} retries" if retries else "")
    _show_call(context, f"{outcome}, request {about.get('RequestId')}")
    if encoded := encoded_message_of(parsed.get("Error", {}).get("Message")):
        command = f"aws sts decode-authorization-message --encoded-message {encoded}"
        _show(f"to see why: {command}")


def _show_failure(*, exception: Exception, context: Mapping[str, Any], **_: Any) -> None:
    _show_call(context, f"no answer: {type(exception).__name__}")


def _show_call(context: Mapping[str, Any], outcome: str) -> None:
    action, began = context[_CALL]
    _show(f"{action}: {outcome}, {time.monotonic() - began:.3f} s")


def _show(text: str) -> None:
    # Nobody may be reading any more.
    with suppress(OSError, ValueError):
        sys.stderr.write(f"aws: {clean(text)}\n")
        sys.stderr.flush()
