"""`snapset.aws.settings`: the stack's `aws` config, and config that can't be meant.

What can't be meant is an input error that names the key: never another account's credentials, never a secret shown.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset import errors
from snapset.aws.session import make_ec2_client
from snapset.aws.settings import AwsSettings, Role

ENDPOINT = "http://127.0.0.1:4566"
SECRETS = {"accessKey": "AKIAEXAMPLE1", "secretKey": "topsecretexample", "token": "sessiontokenexample"}
ROLE = "arn:aws:iam::123456789012:role/backup"
OBJECTS = ["endpoints", "assumeRoles", "assumeRole", "defaultTags", "sharedConfigFiles", "sharedCredentialsFiles"]

pytestmark = pytest.mark.usefixtures("no_account", "no_memory")


def from_config(**config: Any) -> AwsSettings:
    return AwsSettings.from_config(config.get)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "endpoints",
    [
        [{"ec2": ENDPOINT}],
        {"ec2": ENDPOINT},
        [{"sts": "http://elsewhere"}, {"ec2": ENDPOINT}],
        [{"sts": "http://elsewhere", "ec2": ENDPOINT}],
    ],
)
def test_the_endpoint_is_read_from_a_list_or_an_object_given_as_such_or_as_json(
    endpoints: Any, as_json: bool
) -> None:
    settings = from_config(region="us-west-2", endpoints=json.dumps(endpoints) if as_json else endpoints)
    assert settings.endpoint_url == ENDPOINT
    assert make_ec2_client(settings, retries=False).meta.endpoint_url == ENDPOINT


@pytest.mark.parametrize(
    "endpoints", [None, "", " ", "[]", "{}", [], {}, "null", [None], [{"s3": ENDPOINT}], [{"ec2": ""}]]
)
def test_without_an_ec2_endpoint_calls_go_to_aws(endpoints: Any) -> None:
    settings = from_config(region="us-west-2", endpoints=endpoints)
    assert settings.endpoint_url is None
    assert make_ec2_client(settings, retries=False).meta.endpoint_url == "https://ec2.us-west-2.amazonaws.com"


def test_an_endpoint_that_is_not_json_is_an_input_error() -> None:
    with pytest.raises(errors.InputError, match="reading aws:endpoints: "):
        from_config(endpoints=ENDPOINT)


def test_an_empty_config_leaves_all_to_boto3() -> None:
    assert from_config() == AwsSettings()
    assert from_config(region="", profile="", accessKey="") == AwsSettings()


def test_the_keys_of_the_config_are_read() -> None:
    settings = from_config(region="eu-west-1", profile="ops", **SECRETS)
    assert (settings.region, settings.profile) == ("eu-west-1", "ops")
    assert [settings.access_key, settings.secret_key, settings.session_token] == list(SECRETS.values())


def test_credentials_are_not_shown() -> None:
    settings = from_config(region="eu-west-1", **SECRETS)
    for shown in (repr(settings), str(settings), f"{settings}", repr({"settings": settings})):
        assert "eu-west-1" in shown
        assert not [secret for secret in SECRETS.values() if secret in shown]


def test_in_region_changes_the_region_and_nothing_else() -> None:
    settings = from_config(region="eu-west-1", profile="ops", endpoints={"ec2": ENDPOINT}, **SECRETS)
    there = settings.in_region("us-west-2")
    assert there.region == "us-west-2"
    assert there.in_region("eu-west-1") == settings
    assert settings.in_region(None) == settings.in_region("") == settings


@pytest.mark.parametrize("as_json", [False, True])
def test_every_setting_of_a_role_is_read(as_json: bool) -> None:
    given_role = {
        "roleArn": ROLE,
        "sessionName": "nightly",
        "externalId": "shared",
        "policy": "{}",
        "policyArns": ["arn:one", "arn:two"],
        "sourceIdentity": "ops",
        "tags": {"team": "ops", "app": "shop"},
        "transitiveTagKeys": ["team"],
        "duration": "1h30m",
    }
    read = from_config(assumeRoles=json.dumps([given_role]) if as_json else [given_role])
    assert read.roles == (
        Role(
            arn=ROLE,
            session_name="nightly",
            external_id="shared",
            policy="{}",
            policy_arns=("arn:one", "arn:two"),
            source_identity="ops",
            tags=(("app", "shop"), ("team", "ops")),
            transitive_tag_keys=("team",),
            duration=5400,
        ),
    )
    assert read == from_config(assumeRole=given_role)


def test_a_role_without_anything_else_has_nothing_else() -> None:
    assert from_config(assumeRole={"roleArn": ROLE, "sessionName": "", "tags": None}).roles == (Role(arn=ROLE),)


@pytest.mark.parametrize("default_tags", [{"tags": {"team": "ops"}}, [{"tags": {"team": "ops"}}]])
def test_default_tags_are_read_and_are_part_of_what_settings_are(default_tags: Any) -> None:
    read = from_config(region="us-east-1", defaultTags=json.dumps(default_tags))
    assert read.default_tags == {"team": "ops"}
    assert read != from_config(region="us-east-1")
    assert len({read, from_config(region="us-east-1", defaultTags=default_tags)}) == 1
    assert from_config(defaultTags={"tags": None}).default_tags == {}


def test_the_files_of_the_config_are_read() -> None:
    read = from_config(sharedConfigFiles='["/etc/aws/config"]', sharedCredentialsFiles=["/etc/aws/credentials"])
    assert (read.config_file, read.credentials_file) == ("/etc/aws/config", "/etc/aws/credentials")
    assert from_config(sharedConfigFiles=[]).config_file is None


@pytest.fixture
def other_account(no_account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has credentials of its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHERACCOUNT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")


def connect_with(**config: Any) -> None:
    make_ec2_client(AwsSettings.from_config({"region": "us-east-1", **config}.get), retries=False)


@pytest.mark.usefixtures("other_account")
@pytest.mark.parametrize("half", ["accessKey", "secretKey"])
def test_half_a_pair_of_keys_is_an_input_error(half: str) -> None:
    with pytest.raises(errors.InputError):
        connect_with(**{half: "AKIAEXAMPLE1"})


@pytest.mark.usefixtures("other_account")
def test_a_role_without_an_arn_is_an_input_error() -> None:
    with pytest.raises(errors.InputError, match="roleArn"):
        connect_with(assumeRole={"sessionName": "backup"})


@pytest.mark.usefixtures("other_account")
@pytest.mark.parametrize("key", OBJECTS)
def test_an_object_that_is_not_json_is_an_input_error_that_names_the_key(key: str) -> None:
    with pytest.raises(errors.InputError) as caught:
        connect_with(**{key: "{not json"})
    assert str(caught.value).startswith(f"reading aws:{key}: the value is not JSON (")
    assert "not json" not in str(caught.value)


@pytest.mark.usefixtures("other_account")
def test_a_role_for_what_is_not_a_duration_is_an_input_error() -> None:
    with pytest.raises(errors.InputError, match="reading the duration in aws:assumeRoles: '1h30' is not a duration"):
        connect_with(assumeRole={"roleArn": "arn:aws:iam::123456789012:role/backup", "duration": "1h30"})


@pytest.mark.usefixtures("other_account")
def test_a_web_identity_in_the_config_is_refused_and_not_ignored() -> None:
    with pytest.raises(errors.InputError, match="AWS_WEB_IDENTITY_TOKEN_FILE"):
        connect_with(assumeRoleWithWebIdentity={"roleArn": "arn:aws:iam::123456789012:role/backup"})


@pytest.mark.usefixtures("other_account")
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpoints", ENDPOINT),
        ("endpoints", [ENDPOINT]),
        ("assumeRoles", [ROLE]),
        ("assumeRoles", [{"roleArn": ROLE}, "second"]),
        ("assumeRole", ROLE),
        ("assumeRole", 7.0),
        ("defaultTags", ["team"]),
        ("sharedConfigFiles", "/etc/aws/config"),
        ("sharedCredentialsFiles", {"file": "/etc/aws/credentials"}),
        ("sharedCredentialsFiles", [7.0]),
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused_and_not_ignored(key: str, value: Any, as_json: bool) -> None:
    with pytest.raises(errors.InputError, match=f"reading aws:{key}: ") as caught:
        connect_with(**{key: json.dumps(value) if as_json else value})
    assert "/etc/aws" not in str(caught.value)


SECRET = "q8Zx-external-id-Vw1"
MALFORMED = st.sampled_from(
    [
        '[{"roleArn": "arn:aws:iam::123456789012:role/backup", "externalId": "%s"}',
        '[{"roleArn": "r", "externalId": %s}]',
        '[{"roleArn": "r", "externalId": "%s}]',
        "{'externalId': '%s'}",
        '[{"externalId": "%s"},]',
        '[{"externalId": "\\q%s"}]',
        '[{"externalId": "\n%s"}]',
        "%s",
        "{} %s",
    ]
)


@given(MALFORMED, st.sampled_from(OBJECTS), st.text(alphabet=" \n\t[]{},:", max_size=5))
def test_what_is_malformed_is_named_and_never_shown(malformed: str, key: str, around: str) -> None:
    with pytest.raises(errors.InputError) as caught:
        from_config(**{key: f"{around}{malformed % SECRET}{around}"})
    [line] = str(caught.value).splitlines()
    assert f"aws:{key}" in line
    assert SECRET not in line
    # Nor where Python would show what the error came from.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_role_that_lacks_its_arn_does_not_show_the_rest_of_it() -> None:
    with pytest.raises(errors.InputError) as caught:
        from_config(assumeRoles=[{"externalId": SECRET, "sessionName": SECRET}])
    assert str(caught.value) == "reading aws:assumeRoles: a role has no roleArn. Give each its ARN."


@pytest.mark.parametrize("name", ["accessKey", "secretKey", "token"])
def test_a_provider_that_holds_credentials_is_refused_without_showing_them(name: str) -> None:
    with pytest.raises(errors.InputError, match=f"reading the aws.Provider: it holds {name}, ") as caught:
        AwsSettings.from_provider({"region": "us-east-1", name: SECRET})
    assert SECRET not in str(caught.value)
