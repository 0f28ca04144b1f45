"""Sessions and clients of boto3 for given settings, and whose credentials they use.

With SNAPSET_VERBOSE each call is shown on stderr, with its request id and time: no parameters, no credentials.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from snapset.aws.errors import calling_aws, no_region
from snapset.aws.settings import AwsSettings, Role
from snapset.retry import read_seconds

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

VERBOSE = "SNAPSET_VERBOSE"

# An unreachable endpoint is given up after three attempts of three seconds: within 15 s, back-off included.
_CONNECT_SECONDS = 3
_READ_SECONDS = 60.0
_ATTEMPTS = 3

_CALL = "snapset_call"

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
        arn: str = client.get_caller_identity()["Arn"]
    return arn


def make_ec2_client(settings: AwsSettings, *, retries: bool) -> EC2Client:
    """Return an EC2 client; with `retries` botocore's standard mode retries what failed.

    Raises:
        InputError: the profile or the Region is missing.
    """
    with calling_aws("making an EC2 client", needs="nothing"):
        client: EC2Client = _make_client(settings, "ec2", endpoint_url=settings.endpoint_url, retries=retries)
    return client


def _make_client(settings: AwsSettings, service: str, *, endpoint_url: str | None, retries: bool) -> Any:
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=read_seconds("SNAPSET_READ_SECONDS", _READ_SECONDS),
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS if retries else 1},
    )
    with _lock:
        client = _session(settings).client(service, endpoint_url=endpoint_url, config=config)
    return _with_calls_shown(client)


@lru_cache(maxsize=32)
def _session(settings: AwsSettings) -> Any:
    import boto3
    from botocore.session import Session

    core = Session(profile=settings.profile)
    if settings.config_file:
        core.set_config_variable("config_file", settings.config_file)
    if settings.credentials_file:
        core.set_config_variable("credentials_file", settings.credentials_file)
    if settings.access_key and settings.secret_key:
        core.set_credentials(settings.access_key, settings.secret_key, settings.session_token)
    for role in settings.roles:
        core = _assume(core, role, settings)
    return boto3.Session(botocore_session=core, region_name=settings.region)


def _assume(core: Any, role: Role, settings: AwsSettings) -> Any:
    """Return a session that is the role, and renews itself for as long as a wait may take."""
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
    from botocore.exceptions import NoCredentialsError
    from botocore.session import Session

    def create_client(service: str, **options: Any) -> Any:
        place = {"region_name": settings.region, "endpoint_url": settings.sts_endpoint_url}
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


def _show_failure(*, exception: Exception, context: Mapping[str, Any], **_: Any) -> None:
    _show_call(context, f"no answer: {type(exception).__name__}")


def _show_call(context: Mapping[str, Any], outcome: str) -> None:
    action, began = context[_CALL]
    sys.stderr.write(f"aws: {action}: {outcome}, {time.monotonic() - began:.3f} s\n")
    sys.stderr.flush()
