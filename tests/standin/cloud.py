"""AWS as the provider is configured to use it: clients, tags and waiting."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import boto3
import botocore.loaders
import botocore.session

_DEADLINE_SECONDS = 30
_POLL_SECONDS = 0.05

_ROLE_OPTIONS = {"roleArn": "RoleArn", "sessionName": "RoleSessionName", "externalId": "ExternalId"}


class Cloud:
    """AWS as one configured provider uses it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        # Lists and objects arrive as JSON strings, from an explicit provider as from the stack's config.
        self._config = {name: _parsed(value) for name, value in config.items()}
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    @property
    def region(self) -> str | None:
        """The provider's Region."""
        return self._config.get("region") or region_in_environment()

    @property
    def default_tags(self) -> dict[str, str]:
        """The tags that every resource gets."""
        return dict((self._config.get("defaultTags") or {}).get("tags") or {})

    @cached_property
    def account_id(self) -> str:
        """The account's id, empty with `skipRequestingAccountId`."""
        if self._config.get("skipRequestingAccountId"):
            return ""
        return str(self._client("sts", self.region).get_caller_identity()["Account"])

    def ec2(self, properties: Mapping[str, Any]) -> Any:
        """A client for the Region of this resource."""
        return self._client("ec2", properties.get("region") or self.region)

    def arn(self, properties: Mapping[str, Any], resource: str) -> str:
        """The ARN of an EC2 resource such as `instance/i-1`."""
        return f"arn:aws:ec2:{properties.get('region') or self.region}:{self.account_id}:{resource}"

    def tags_all(self, tags: Mapping[str, str] | None) -> dict[str, str]:
        """A resource's tags together with the default tags."""
        return {**self.default_tags, **(tags or {})}

    def split_tags(self, listed: Iterable[Mapping[str, str]], state: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """The outputs `tags` and `tagsAll` for the tags that EC2 lists; only the latter has the default tags."""
        tags_all = {tag["Key"]: tag["Value"] for tag in listed if not tag["Key"].startswith("aws:")}
        own, defaults = state.get("tags") or {}, self.default_tags
        tags = {key: value for key, value in tags_all.items() if key in own or defaults.get(key) != value}
        return {"tags": tags, "tagsAll": tags_all}

    def _client(self, service: str, region: str | None) -> Any:
        key = (service, region or "")
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._session.client(
                    service, region_name=region, endpoint_url=self._endpoint(service)
                )
            return self._clients[key]

    def _endpoint(self, service: str) -> str | None:
        entries = self._config.get("endpoints") or []
        return next((entry[service] for entry in entries if entry.get(service)), None)

    @cached_property
    def _session(self) -> Any:
        session = boto3.Session(
            botocore_session=_core_session(),
            profile_name=self._config.get("profile"),
            aws_access_key_id=self._config.get("accessKey"),
            aws_secret_access_key=self._config.get("secretKey"),
            aws_session_token=self._config.get("token"),
        )
        for role in self._config.get("assumeRoles") or []:
            options = {_ROLE_OPTIONS[name]: value for name, value in role.items() if name in _ROLE_OPTIONS}
            sts = session.client("sts", region_name=self.region, endpoint_url=self._endpoint("sts"))
            assumed = sts.assume_role(**{"RoleSessionName": "standin", **options})["Credentials"]
            session = boto3.Session(
                assumed["AccessKeyId"],
                assumed["SecretAccessKey"],
                assumed["SessionToken"],
                botocore_session=_core_session(),
            )
        return session


# What AWS's services look like, read once.
_LOADER = botocore.loaders.create_loader()


def _core_session() -> Any:
    session = botocore.session.Session()
    session.register_component("data_loader", _LOADER)
    return session


def load_services() -> None:
    """Read what the services look like that the stand-in calls; EC2's takes a quarter of a second."""
    for service in ("ec2", "sts"):
        boto3.Session(botocore_session=_core_session()).client(
            service, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
        )


def region_in_environment() -> str | None:
    """The Region that the real plugin finds without any configuration."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags in EC2's format."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tag_specifications(**tags: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """The TagSpecifications of a call, from the tags by resource type."""
    return [{"ResourceType": kind, "Tags": tag_list(wanted)} for kind, wanted in tags.items() if wanted]


def change_tags(ec2: Any, resource_ids: list[str], olds: Mapping[str, str], news: Mapping[str, str]) -> None:
    """Change the tags of these resources from olds to news."""
    gone = olds.keys() - news.keys()
    changed = {key: value for key, value in news.items() if olds.get(key) != value}
    if gone:
        ec2.delete_tags(Resources=resource_ids, Tags=[{"Key": key} for key in sorted(gone)])
    if changed:
        ec2.create_tags(Resources=resource_ids, Tags=tag_list(changed))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll until the condition holds.

    Raises:
        TimeoutError: the condition does not hold in time.
    """
    give_up = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"waiting for {what}: timeout")
        time.sleep(_POLL_SECONDS)


def is_missing(error: Exception) -> bool:
    """Whether EC2 answered that the resource does not exist."""
    code: str = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    return code.endswith(".NotFound")


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in tuple('[{"tf') else value
    except ValueError:
        return value
