"""Where calls go and as whom: the settings of the stack's `aws` config, or of an `aws.Provider`.

Config keys: https://www.pulumi.com/registry/packages/aws/installation-configuration/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from snapset import errors
from snapset.retry import parse_duration

# The keys whose values are objects or lists of objects, and those whose values are lists of paths.
_OBJECTS = ("endpoints", "assumeRoles", "assumeRole", "defaultTags")
_FILES = ("sharedConfigFiles", "sharedCredentialsFiles")

# Settings of an `aws.Provider` that snapset follows, and those that are or may contain credentials.
PROVIDER_KEYS = ("region", "profile", *_OBJECTS, *_FILES)
CREDENTIALS = ("accessKey", "secretKey", "token", "assumeRoleWithWebIdentity")


@dataclass(frozen=True, kw_only=True)
class Role:
    """A role to assume, with the options of sts:AssumeRole. `duration` in seconds; tags are key-value pairs.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
    """

    arn: str
    session_name: str | None = None
    external_id: str | None = None
    policy: str | None = None
    policy_arns: tuple[str, ...] = ()
    source_identity: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    transitive_tag_keys: tuple[str, ...] = ()
    duration: int | None = None

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Role:
        """Read an entry of `aws:assumeRoles`.

        Raises:
            InputError: it has no ARN, or its duration can't be read.
        """
        if not given.get("roleArn"):
            raise errors.InputError("reading aws:assumeRoles: a role has no roleArn. Give each its ARN.")
        duration = given.get("duration")
        return cls(
            arn=given["roleArn"],
            session_name=given.get("sessionName") or None,
            external_id=given.get("externalId") or None,
            policy=given.get("policy") or None,
            policy_arns=tuple(given.get("policyArns") or ()),
            source_identity=given.get("sourceIdentity") or None,
            tags=tuple(sorted((given.get("tags") or {}).items())),
            transitive_tag_keys=tuple(given.get("transitiveTagKeys") or ()),
            duration=int(parse_duration(duration, name="the duration in aws:assumeRoles")) if duration else None,
        )


@dataclass(frozen=True, kw_only=True)
class AwsSettings:
    """Where calls go and as whom. Credentials in it are never shown, and never leave the process."""

    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    sts_endpoint_url: str | None = None
    config_file: str | None = None
    credentials_file: str | None = None
    roles: tuple[Role, ...] = ()
    # Compared, but no part of the hash: a dict has none.
    default_tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_config(cls, get: Callable[[str], Any]) -> AwsSettings:
        """Read the keys of the stack's `aws` namespace.

        Args:
            get: returns the value of a key such as `region`, or None; objects may be JSON strings.

        Raises:
            InputError: a value can't be read, or names a way to get credentials that snapset does not have.
        """
        if get("assumeRoleWithWebIdentity"):
            raise errors.InputError(
                "reading aws:assumeRoleWithWebIdentity: snapset takes a web identity from the environment only. "
                "Set AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE."
            )
        if bool(get("accessKey")) != bool(get("secretKey")):
            raise errors.InputError("reading aws:accessKey and aws:secretKey: one is not set. Set both, or neither.")
        objects = {name: _objects(name, _parse_json(name, get(name))) for name in _OBJECTS}
        config_file, credentials_file = (_first(name, _parse_json(name, get(name))) for name in _FILES)
        endpoints = _merge(objects["endpoints"])
        return cls(
            region=get("region") or None,
            profile=get("profile") or None,
            endpoint_url=endpoints.get("ec2") or None,
            sts_endpoint_url=endpoints.get("sts") or None,
            config_file=config_file,
            credentials_file=credentials_file,
            roles=tuple(map(Role.parse, objects["assumeRoles"] or objects["assumeRole"])),
            default_tags=_merge(objects["defaultTags"]).get("tags") or {},
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

    def in_region(self, region: str | None) -> AwsSettings:
        """Return the same settings for another Region; None keeps the Region."""
        return replace(self, region=region) if region else self


def _parse_json(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except ValueError as error:
        # Not the value: it may hold an external id, or more.
        raise errors.InputError(f"reading aws:{name}: the value is not JSON ({error}).") from None


def _objects(name: str, parsed: Any) -> list[Mapping[str, Any]]:
    entries = [entry for entry in (parsed if isinstance(parsed, list) else [parsed]) if entry is not None]
    if not all(isinstance(entry, Mapping) for entry in entries):
        # A role that is passed over in silence would leave the calls to somebody else's credentials.
        raise errors.InputError(f"reading aws:{name}: it is neither an object nor a list of objects.")
    return entries


def _merge(objects: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: value for entry in objects for key, value in entry.items()}


def _first(name: str, parsed: Any) -> str | None:
    if not parsed:
        return None
    if not isinstance(parsed, list) or not all(isinstance(path, str) for path in parsed):
        raise errors.InputError(f"reading aws:{name}: it is not a list of paths.")
    return str(parsed[0])
