"""Where calls go and as whom: the settings of the stack's `aws` config, or of an `aws.Provider`.

Config keys: https://www.pulumi.com/registry/packages/aws/installation-configuration/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from snapset import errors
from snapset.durations import parse_duration

# The keys whose values are objects or lists of objects, lists of strings, true or false, and strings.
_OBJECTS = ("endpoints", "assumeRoles", "assumeRole", "defaultTags")
_LISTS = ("sharedConfigFiles", "sharedCredentialsFiles", "allowedAccountIds", "forbiddenAccountIds")
_FLAGS = ("useFipsEndpoint", "useDualstackEndpoint", "insecure")
_STRINGS = (
    "region",
    "profile",
    "stsRegion",
    "customCaBundle",
    "httpProxy",
    "httpsProxy",
    "ec2MetadataServiceEndpoint",
    "ec2MetadataServiceEndpointMode",
)
# What decides neither where calls go nor as whom.
_HARMLESS = (
    "ignoreTags",
    "maxRetries",
    "retryMode",
    "s3UsEast1RegionalEndpoint",
    "s3UsePathStyle",
    "skipCredentialsValidation",
    "skipMetadataApiCheck",
    "skipRegionValidation",
    "skipRequestingAccountId",
    "tagPolicyCompliance",
    "tokenBucketRateLimiterCapacity",
    "userAgents",
)
# What snapset can't follow, with what to do instead.
_REFUSED = {
    "assumeRoleWithWebIdentity": (
        "snapset takes a web identity from the environment only. Set AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE"
    ),
    "noProxy": "snapset takes it from the environment only. Set NO_PROXY, with HTTPS_PROXY beside it",
}
# In the inputs of a resource: the settings of an `aws.Provider` that are none of those above.
UNKNOWN_KEYS = "unknownKeys"

# Settings of an `aws.Provider` that snapset follows or refuses, and those that are or may contain credentials.
PROVIDER_KEYS = (*_STRINGS, *_FLAGS, *_OBJECTS, *_LISTS, "noProxy")
KNOWN_KEYS = frozenset({*PROVIDER_KEYS, *_HARMLESS, "accessKey", "secretKey", "token", "assumeRoleWithWebIdentity"})
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
        if not isinstance(given.get("tags") or {}, Mapping):
            # Not the value: the entry may hold an external id.
            raise errors.InputError("reading aws:assumeRoles: the tags of a role are no map. Write KEY: VALUE.")
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
    sts_region: str | None = None
    config_files: tuple[str, ...] = ()
    credentials_files: tuple[str, ...] = ()
    allowed_account_ids: tuple[str, ...] = ()
    forbidden_account_ids: tuple[str, ...] = ()
    use_fips: bool = False
    use_dualstack: bool = False
    insecure: bool = False
    ca_bundle: str | None = None
    http_proxy: str | None = None
    https_proxy: str | None = None
    metadata_endpoint: str | None = None
    metadata_endpoint_mode: str | None = None
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
        for name, why in _REFUSED.items():
            if get(name):
                raise errors.InputError(f"reading aws:{name}: {why}.")
        if unknown := get(UNKNOWN_KEYS):
            raise errors.InputError(
                f"reading the aws.Provider: snapset does not know {unknown}, and would not follow it. Leave it out."
            )
        if bool(get("accessKey")) != bool(get("secretKey")):
            raise errors.InputError("reading aws:accessKey and aws:secretKey: one is not set. Set both, or neither.")
        objects = {name: _objects(name, _parse_json(name, get(name))) for name in _OBJECTS}
        lists = {name: _strings(name, _parse_json(name, get(name))) for name in _LISTS}
        flags = {name: _flag(name, get(name)) for name in _FLAGS}
        endpoints, default_tags = _merge(objects["endpoints"]), _merge(objects["defaultTags"])
        if misplaced := ", ".join(sorted(default_tags.keys() - {"tags"})):
            raise errors.InputError(f"reading aws:defaultTags: it has no key {misplaced}. Put the tags under tags.")
        return cls(
            region=get("region") or None,
            profile=get("profile") or None,
            endpoint_url=endpoints.get("ec2") or None,
            sts_endpoint_url=endpoints.get("sts") or None,
            sts_region=get("stsRegion") or None,
            config_files=lists["sharedConfigFiles"],
            credentials_files=lists["sharedCredentialsFiles"],
            allowed_account_ids=lists["allowedAccountIds"],
            forbidden_account_ids=lists["forbiddenAccountIds"],
            use_fips=flags["useFipsEndpoint"],
            use_dualstack=flags["useDualstackEndpoint"],
            insecure=flags["insecure"],
            ca_bundle=get("customCaBundle") or None,
            http_proxy=get("httpProxy") or None,
            https_proxy=get("httpsProxy") or None,
            metadata_endpoint=get("ec2MetadataServiceEndpoint") or None,
            metadata_endpoint_mode=get("ec2MetadataServiceEndpointMode") or None,
            roles=tuple(map(Role.parse, objects["assumeRoles"] or objects["assumeRole"])),
            default_tags=default_tags.get("tags") or {},
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


def _strings(name: str, parsed: Any) -> tuple[str, ...]:
    if not parsed:
        return ()
    if not isinstance(parsed, list) or not all(isinstance(item, str) for item in parsed):
        raise errors.InputError(f"reading aws:{name}: it is not a list of strings.")
    return tuple(parsed)


def _flag(name: str, value: Any) -> bool:
    text = str(value or "false").lower()
    if text not in ("true", "false"):
        raise errors.InputError(f"reading aws:{name}: it is neither true nor false.")
    return text == "true"
