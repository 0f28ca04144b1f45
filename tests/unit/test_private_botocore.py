"""What snapset uses of botocore beyond its documented API: listed here, with what it relies on, and checked.

A name that is not listed may not be used. Where botocore changes a listed one, a check fails, and says which.
The documented API: https://botocore.amazonaws.com/v1/documentation/api/latest/reference/ and, for the exceptions,
https://boto3.amazonaws.com/v1/documentation/api/latest/guide/error-handling.html
"""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import snapset
from botocore import exceptions
from botocore.config import Config
from botocore.configloader import raw_config_parse
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    Credentials,
    DeferredRefreshableCredentials,
    RefreshableCredentials,
)
from botocore.parsers import ResponseParserError, create_parser
from botocore.session import Session
from support.names import names_used, private_attributes_of_others

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

SOURCES = Path(snapset.__file__).parent
HOUR = datetime.timedelta(hours=1)
DOCUMENTED = (
    "boto3.Session",
    "boto3.session",
    "botocore.__version__",
    "botocore.config",
    "botocore.exceptions",
    "botocore.loaders",
    "botocore.session",
)


def is_documented(name: str) -> bool:
    return any(name == documented or name.startswith(f"{documented}.") for documented in DOCUMENTED)


def undocumented_names(source: str) -> set[str]:
    """The names that botocore does not document, and the private attributes of others in a source that imports it."""
    used = names_used(source, of="botocore") | names_used(source, of="boto3")
    private = private_attributes_of_others(source) if "import boto" in source or "from boto" in source else set()
    return {name for name in used if not is_documented(name)} | private


def check_raw_config_parse(tmp_path: Path) -> None:
    """It reads the sections of a config file, by the names that are in it."""
    file = tmp_path / "config"
    file.write_text("[default]\nregion = a\n[profile shop]\nregion = b\n")
    assert raw_config_parse(str(file)) == {"default": {"region": "a"}, "profile shop": {"region": "b"}}


def check_assume_role(_: Path) -> None:
    """The fetcher asks STS by a client that it has made, with the options as they are."""
    asked: list[dict[str, Any]] = []
    expiry = datetime.datetime.now(datetime.timezone.utc) + HOUR

    class Sts:
        def assume_role(self, **options: Any) -> Any:
            asked.append(options)
            keys = {"AccessKeyId": "A", "SecretAccessKey": "S", "SessionToken": "T"}
            return {"Credentials": {**keys, "Expiration": expiry}, "AssumedRoleUser": {"Arn": "arn:aws:sts::1:x"}}

    def create_client(service: str, **credentials: Any) -> Any:
        assert (service, credentials["aws_access_key_id"]) == ("sts", "source")
        return Sts()

    source = Credentials("source", "secret")
    fetcher = AssumeRoleCredentialFetcher(create_client, source, "role", extra_args={"RoleSessionName": "name"})
    assert fetcher.fetch_credentials()["access_key"] == "A"
    assert asked == [{"RoleArn": "role", "RoleSessionName": "name"}]


def check_deferred_credentials(_: Path) -> None:
    """It fetches once it is asked for the keys, and not before."""
    fetched: list[str] = []

    def fetch() -> dict[str, str]:
        fetched.append("now")
        keys = {"access_key": "A", "secret_key": "S", "token": "T"}
        return {**keys, "expiry_time": (datetime.datetime.now(datetime.timezone.utc) + HOUR).isoformat()}

    deferred = DeferredRefreshableCredentials(fetch, "assume-role")
    assert fetched == []
    assert deferred.get_frozen_credentials().access_key == "A"
    assert fetched == ["now"]


def check_session_credentials(_: Path) -> None:
    """The credentials of a session are those that this attribute holds: no method sets credentials that renew."""
    session: Any = Session()
    assert session._credentials is None
    session._credentials = Credentials("mine", "secret")
    assert session.get_credentials() is session._credentials


def check_parser_error(_: Path) -> None:
    """It says that an answer is none, and is no BotoCoreError."""
    parser: Any = create_parser("ec2")
    with pytest.raises(ResponseParserError):
        parser.parse({"body": b"<html", "headers": {}, "status_code": 200}, None)
    assert not issubclass(ResponseParserError, exceptions.BotoCoreError)


# Each name that snapset uses beyond the documented API, and the check of what it relies on.
LISTED: dict[str, Callable[[Path], None]] = {
    "assumed._credentials": check_session_credentials,
    "botocore.configloader.raw_config_parse": check_raw_config_parse,
    "botocore.credentials.AssumeRoleCredentialFetcher": check_assume_role,
    "botocore.credentials.DeferredRefreshableCredentials": check_deferred_credentials,
    "botocore.parsers.ResponseParserError": check_parser_error,
}


def test_every_undocumented_name_that_is_used_is_listed_and_no_other() -> None:
    used = {name for path in SOURCES.rglob("*.py") for name in undocumented_names(path.read_text())}
    assert sorted(used) == sorted(LISTED)


@pytest.mark.parametrize("name", LISTED)
def test_what_snapset_relies_on_has_not_changed(name: str, tmp_path: Path) -> None:
    assert LISTED[name].__doc__
    LISTED[name](tmp_path)


@pytest.mark.parametrize(
    ("source", "undocumented"),
    [
        ("import boto3\nboto3.Session()\nfrom botocore.config import Config", set()),
        ("import botocore.exceptions as botocore\nbotocore.ClientError", set()),
        ("import botocore.parsers as botocore\nbotocore.EC2QueryParser", {"botocore.parsers.EC2QueryParser"}),
        ("def f():\n    from botocore.utils import JSONFileCache", {"botocore.utils.JSONFileCache"}),
        ("import botocore.auth", {"botocore.auth"}),
        ("import boto3\nboto3.DEFAULT_SESSION", {"boto3.DEFAULT_SESSION"}),
        ("import boto3\nclient._endpoint.host", {"client._endpoint"}),
        ("import boto3\nself._client.meta", set()),
        ("os._exit(1)", set()),
    ],
)
def test_an_undocumented_name_is_seen_however_it_is_reached(source: str, undocumented: set[str]) -> None:
    assert undocumented_names(source) == undocumented


# What snapset relies on without an import.


def test_the_events_of_a_call_tell_what_snapset_reads_of_them(ec2: EmbeddedEC2) -> None:
    told: dict[str, set[str]] = {}

    def note(event_name: str, **given: object) -> None:
        told.setdefault(event_name.partition(".")[0], set()).update(given)

    for endpoint in (ec2.endpoint, "http://127.0.0.1:1"):
        client: Any = Session().create_client(
            "ec2",
            region_name=ec2.region,
            endpoint_url=endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )
        for event in ("before-call", "after-call", "after-call-error"):
            client.meta.events.register(event, note)
        if endpoint == ec2.endpoint:
            client.describe_instances()
        else:
            with pytest.raises(exceptions.EndpointConnectionError):
                client.describe_instances()
    assert {"model", "context"} <= told["before-call"]
    assert {"http_response", "model", "parsed", "context"} <= told["after-call"]
    assert {"exception", "context"} <= told["after-call-error"]


def test_credentials_that_are_expired_once_they_were_renewed_are_still_a_runtime_error() -> None:
    assert "raise RuntimeError" in inspect.getsource(RefreshableCredentials)
