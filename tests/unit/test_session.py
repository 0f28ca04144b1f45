"""`snapset.session`: where calls go and as whom, from the stack's `aws` config or from boto3's own chain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2, connect
from snapset.aws.session import AwsSettings, find_region, make_client
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.sets.inputs import SetInputs

ENDPOINT = "http://127.0.0.1:4566"
SECRETS = {"accessKey": "AKIAEXAMPLE1", "secretKey": "topsecretexample", "token": "sessiontokenexample"}

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
    assert make_client(settings, retries=False).meta.endpoint_url == ENDPOINT


@pytest.mark.parametrize("endpoints", [None, "", " ", "[]", "{}", [], {}, "null", [{"s3": ENDPOINT}], [{"ec2": ""}]])
def test_without_an_ec2_endpoint_calls_go_to_aws(endpoints: Any) -> None:
    settings = from_config(region="us-west-2", endpoints=endpoints)
    assert settings.endpoint_url is None
    assert make_client(settings, retries=False).meta.endpoint_url == "https://ec2.us-west-2.amazonaws.com"


def test_an_endpoint_that_is_not_json_is_an_input_error() -> None:
    with pytest.raises(errors.InputError, match="endpoints"):
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


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_of_the_config_wins_over_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "eu-central-1")
    assert find_region(from_config(region="us-west-2")) == "us-west-2"
    assert find_region(from_config()) == "eu-central-1"


def test_no_region_at_all_is_an_input_error_that_says_where_to_set_one() -> None:
    for ask in (lambda: find_region(AwsSettings()), lambda: make_client(AwsSettings(), retries=True)):
        with pytest.raises(errors.InputError) as caught:
            ask()
        assert "no Region is set. Set the region input, aws:region in the stack's config, or AWS_REGION." in str(
            caught.value
        )


def test_no_credentials_at_all_are_an_input_error_that_says_where_to_set_them(
    ec2: EmbeddedEC2, inputs: SetInputs
) -> None:
    aws = Ec2(AwsSettings(region="us-east-1", endpoint_url=ec2.endpoint))
    ec2.clear_calls()
    with pytest.raises(errors.InputError) as caught:
        aws.create_snapshots(inputs, {})
    assert str(caught.value).startswith(f"creating snapshots of {inputs.instance_id}: no AWS credentials were found.")
    assert "AWS_PROFILE" in str(caught.value)
    assert ec2.calls() == []


def test_an_unknown_profile_is_an_input_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = AwsSettings(region="us-east-1", profile="nonesuch")
    for ask in (lambda: make_client(settings, retries=True), lambda: find_region(AwsSettings(profile="nonesuch"))):
        with pytest.raises(errors.InputError, match="nonesuch"):
            ask()
    monkeypatch.setenv("AWS_PROFILE", "nothere")
    with pytest.raises(errors.InputError, match="nothere"):
        make_client(AwsSettings(region="us-east-1"), retries=True)


def test_a_config_file_that_can_not_be_read_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile ops\nregion = us-west-2\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(errors.InputError, match="config"):
        find_region(AwsSettings(profile="ops"))


def test_an_endpoint_that_is_no_url_is_an_input_error_that_quotes_it() -> None:
    with pytest.raises(errors.InputError, match="not a url"):
        make_client(AwsSettings(region="us-east-1", endpoint_url="not a url"), retries=True)


def test_a_profile_gives_region_and_credentials(
    ec2: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile ops]\nregion = us-east-1\n")
    (tmp_path / "credentials").write_text("[ops]\naws_access_key_id = AKIAOPS\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    settings = AwsSettings(profile="ops", endpoint_url=ec2.endpoint)
    assert find_region(settings) == "us-east-1"
    Ec2(settings).describe_instance(instance.instance_id)
    last = ec2.calls("DescribeInstances")[-1]
    assert (last["region"], last["access_key"]) == ("us-east-1", "AKIAOPS")


def test_the_credentials_of_the_config_win_over_those_of_the_environment(
    ec2: EmbeddedEC2, instance: LaunchedInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    theirs = from_config(region="us-east-1", endpoints={"ec2": ec2.endpoint}, **SECRETS)
    own = from_config(region="us-east-1", endpoints={"ec2": ec2.endpoint})
    used = []
    for settings in (theirs, own):
        Ec2(settings).describe_instance(instance.instance_id)
        used.append(ec2.calls("DescribeInstances")[-1]["access_key"])
    assert used == [SECRETS["accessKey"], "AKIAENVIRONMENT"]


def test_the_endpoint_of_the_environment_is_used_as_boto3_uses_it(
    ec2: EmbeddedEC2, instance: LaunchedInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ec2.environment().items():
        monkeypatch.setenv(name, value)
    assert Ec2(AwsSettings()).describe_instance(instance.instance_id).instance_id == instance.instance_id


def test_settings_that_are_alike_share_one_ec2() -> None:
    one, same, other = AwsSettings(region="us-east-1"), AwsSettings(region="us-east-1"), AwsSettings(region="x")
    assert connect(one) is connect(same)
    assert connect(one) is not connect(other)
