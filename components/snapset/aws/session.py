"""Where calls go and as whom: the stack's `aws` config, else boto3's own chain.

Config keys: https://www.pulumi.com/registry/packages/aws/installation-configuration/
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from snapset import errors
from snapset.aws.call_log import with_calls_shown
from snapset.aws.errors import calling_aws, no_region
from snapset.retry import parse_duration, seconds_from_environment

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

# An unreachable endpoint is given up after three attempts of three seconds: within 15 s, back-off included.
_CONNECT_SECONDS = 3
_READ_SECONDS = 60.0
_ATTEMPTS = 3

# What a role is assumed with: Pulumi's names, and those of sts:AssumeRole.
_ROLE_OPTIONS = {
    "sessionName": "RoleSessionName",
    "externalId": "ExternalId",
    "policy": "Policy",
    "sourceIdentity": "SourceIdentity",
    "transitiveTagKeys": "TransitiveTagKeys",
}

# The keys whose values are objects or lists.
_OBJECTS = ("endpoints", "assumeRoles", "assumeRole", "defaultTags", "sharedConfigFiles", "sharedCredentialsFiles")

# What an `aws.Provider` may say, and what of it is, or may hold, a credential.
PROVIDER_KEYS = ("region", "profile", *_OBJECTS)
CREDENTIALS = ("accessKey", "secretKey", "token", "assumeRoleWithWebIdentity")

_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class AwsSettings:
    """Where calls go and as whom. Credentials in it are never shown, and never leave the process.

    `roles` and `tags` are JSON texts, so that settings can be compared and be the key of a cache.
    """

    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    sts_endpoint_url: str | None = None
    config_file: str | None = None
    credentials_file: str | None = None
    roles: str = "[]"
    tags: str = "{}"
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_config(cls, get: Callable[[str], Any]) -> AwsSettings:
        """Read the keys of the stack's `aws` namespace.

        Args:
            get: returns the value of a key such as `region`, or None; objects may be JSON texts.

        Raises:
            InputError: a key names a way to get credentials that snapset does not have.
        """
        if get("assumeRoleWithWebIdentity"):
            raise errors.InputError(
                "reading aws:assumeRoleWithWebIdentity: snapset takes a web identity from the environment only. "
                "Set AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE."
            )
        parsed = {name: _parsed(name, get(name)) for name in _OBJECTS}
        endpoints = _merged(parsed["endpoints"])
        roles = _objects(parsed["assumeRoles"]) or _objects(parsed["assumeRole"])
        if not all(role.get("roleArn") for role in roles):
            raise errors.InputError("reading aws:assumeRoles: a role has no roleArn. Give each its ARN.")
        if bool(get("accessKey")) != bool(get("secretKey")):
            raise errors.InputError("reading aws:accessKey and aws:secretKey: one is not set. Set both, or neither.")
        return cls(
            region=get("region") or None,
            profile=get("profile") or None,
            endpoint_url=endpoints.get("ec2") or None,
            sts_endpoint_url=endpoints.get("sts") or None,
            config_file=_first(parsed["sharedConfigFiles"]),
            credentials_file=_first(parsed["sharedCredentialsFiles"]),
            roles=json.dumps(roles, sort_keys=True),
            tags=json.dumps(_merged(parsed["defaultTags"]).get("tags") or {}, sort_keys=True),
            access_key=get("accessKey") or None,
            secret_key=get("secretKey") or None,
            session_token=get("token") or None,
        )

    @classmethod
    def from_provider(cls, given: Mapping[str, Any]) -> AwsSettings:
        """Read the settings of an `aws.Provider`; of its credentials it is enough to know that there are any.

        Raises:
            InputError: it holds credentials, or names another way to get them that snapset does not have.
        """
        if held := [key for key in ("accessKey", "secretKey", "token") if given.get(key)]:
            raise errors.InputError(
                f"reading the aws.Provider: it holds {' and '.join(held)}, and the state must hold no credentials. "
                "Let it use a profile, a role (assume_roles) or the environment instead."
            )
        return cls.from_config(given.get)

    @property
    def default_tags(self) -> dict[str, str]:
        """The tags of `aws:defaultTags`."""
        parsed: dict[str, str] = json.loads(self.tags)
        return parsed

    def in_region(self, region: str | None) -> AwsSettings:
        """Return the same settings for another Region; None keeps the Region."""
        return replace(self, region=region) if region else self


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


def make_client(settings: AwsSettings, *, retries: bool) -> EC2Client:
    """Return an EC2 client; with `retries` botocore's standard mode retries what failed.

    Raises:
        InputError: the profile or the Region is missing.
    """
    with calling_aws("making an EC2 client", needs="nothing"), _lock:
        client: EC2Client = _session(settings).client(
            "ec2", endpoint_url=settings.endpoint_url, config=_config(retries=retries)
        )
    return with_calls_shown(client)


def make_sts_client(settings: AwsSettings) -> Any:
    """Return an STS client that retries what failed.

    Raises:
        InputError: the profile or the Region is missing.
    """
    with calling_aws("making an STS client", needs="nothing"), _lock:
        client = _session(settings).client(
            "sts", endpoint_url=settings.sts_endpoint_url, config=_config(retries=True)
        )
    return with_calls_shown(client)


def _config(*, retries: bool) -> Any:
    from botocore.config import Config

    return Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=seconds_from_environment("SNAPSET_READ_SECONDS", _READ_SECONDS),
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS if retries else 1},
    )


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
    for role in json.loads(settings.roles):
        core = _assume(core, role, settings)
    return boto3.Session(botocore_session=core, region_name=settings.region)


def _assume(core: Any, role: Mapping[str, Any], settings: AwsSettings) -> Any:
    """Return a session that is the role, and renews itself for as long as a wait may take."""
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
    from botocore.exceptions import NoCredentialsError
    from botocore.session import Session

    def create_client(service: str, **options: Any) -> Any:
        client = core.create_client(
            service, region_name=settings.region, endpoint_url=settings.sts_endpoint_url, **options
        )
        return with_calls_shown(client)

    options: dict[str, Any] = {name: role[key] for key, name in _ROLE_OPTIONS.items() if role.get(key)}
    if role.get("policyArns"):
        options["PolicyArns"] = [{"arn": each} for each in role["policyArns"]]
    if role.get("tags"):
        options["Tags"] = [{"Key": key, "Value": value} for key, value in role["tags"].items()]
    if role.get("duration"):
        options["DurationSeconds"] = int(parse_duration(role["duration"]))
    source = core.get_credentials()
    if source is None:
        raise NoCredentialsError
    fetcher = AssumeRoleCredentialFetcher(create_client, source, role["roleArn"], extra_args=options)
    assumed: Any = Session()
    assumed._credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    return assumed


def _parsed(name: str, value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) and value.strip() else value
    except ValueError as error:
        raise errors.InputError(f"reading aws:{name}: {value!r} is not JSON ({error}).") from error


def _objects(parsed: Any) -> list[Mapping[str, Any]]:
    entries: Sequence[Any] = parsed if isinstance(parsed, list) else [parsed]
    return [each for each in entries if isinstance(each, Mapping)]


def _merged(parsed: Any) -> dict[str, Any]:
    return {key: item for entry in _objects(parsed) for key, item in entry.items()}


def _first(parsed: Any) -> str | None:
    return str(parsed[0]) if isinstance(parsed, list) and parsed else None
