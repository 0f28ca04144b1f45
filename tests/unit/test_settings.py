"""Config that can't be meant: it is an input error that names the key, and never another account's credentials."""

from __future__ import annotations

from typing import Any

import pytest
from snapset import errors
from snapset.aws.session import AwsSettings, make_client

pytestmark = pytest.mark.usefixtures("no_account", "no_memory")


@pytest.fixture(autouse=True)
def other_account(no_account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has credentials of its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHERACCOUNT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")


def connect_with(**config: Any) -> None:
    make_client(AwsSettings.from_config({"region": "us-east-1", **config}.get), retries=False)


@pytest.mark.parametrize("half", ["accessKey", "secretKey"])
def test_half_a_pair_of_keys_is_an_input_error(half: str) -> None:
    with pytest.raises(errors.InputError):
        connect_with(**{half: "AKIAEXAMPLE1"})


def test_a_role_without_an_arn_is_an_input_error() -> None:
    with pytest.raises(errors.InputError, match="roleArn"):
        connect_with(assumeRole={"sessionName": "backup"})


def test_a_read_timeout_that_is_no_number_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPSET_READ_SECONDS", "soon")
    with pytest.raises(errors.InputError, match="SNAPSET_READ_SECONDS"):
        connect_with()


@pytest.mark.parametrize(
    "key", ["endpoints", "assumeRoles", "assumeRole", "defaultTags", "sharedConfigFiles", "sharedCredentialsFiles"]
)
def test_an_object_that_is_not_json_is_an_input_error_that_names_the_key(key: str) -> None:
    with pytest.raises(errors.InputError) as caught:
        connect_with(**{key: "{not json"})
    assert str(caught.value).startswith(f"reading aws:{key}: '{{not json' is not JSON")


def test_a_role_for_a_duration_that_is_none_is_an_input_error() -> None:
    with pytest.raises(errors.InputError, match="1h30"):
        connect_with(assumeRole={"roleArn": "arn:aws:iam::123456789012:role/backup", "duration": "1h30"})


def test_a_web_identity_in_the_config_is_refused_and_not_ignored() -> None:
    with pytest.raises(errors.InputError, match="AWS_WEB_IDENTITY_TOKEN_FILE"):
        connect_with(assumeRoleWithWebIdentity={"roleArn": "arn:aws:iam::123456789012:role/backup"})
