"""`snapset.aws.session`: which Region, endpoint and credentials a client has, and what SNAPSET_VERBOSE shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2, _clients_for
from snapset.aws.session import find_caller, find_region, make_ec2_client
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.limits import Limits
from snapset.sets.inputs import SetInputs

SECRETS = {"accessKey": "AKIAEXAMPLE1", "secretKey": "topsecretexample", "token": "sessiontokenexample"}

pytestmark = pytest.mark.usefixtures("no_account", "no_memory")


def from_config(**config: Any) -> AwsSettings:
    return AwsSettings.from_config(config.get)


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_of_the_config_wins_over_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "eu-central-1")
    assert find_region(from_config(region="us-west-2")) == "us-west-2"
    assert find_region(from_config()) == "eu-central-1"


def test_no_region_at_all_is_an_input_error_that_says_where_to_set_one() -> None:
    for ask in (lambda: find_region(AwsSettings()), lambda: make_ec2_client(AwsSettings(), retries=True)):
        with pytest.raises(errors.InputError) as caught:
            ask()
        assert "no Region is set. Set region (--region), aws:region in the stack's config, or AWS_REGION." in str(
            caught.value
        )


def test_no_credentials_at_all_are_an_input_error_that_says_where_to_set_them(
    ec2: EmbeddedEC2, inputs: SetInputs
) -> None:
    aws = Ec2(AwsSettings(region="us-east-1", endpoint_url=ec2.endpoint), Limits())
    ec2.clear_calls()
    with pytest.raises(errors.InputError) as caught:
        aws.create_snapshots(inputs.request(set_id="set-0123456789abcdef0"))
    assert str(caught.value).startswith(f"creating snapshots of {inputs.instance_id}: no AWS credentials were found.")
    assert "AWS_PROFILE" in str(caught.value)
    assert ec2.calls() == []


def test_an_unknown_profile_is_an_input_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = AwsSettings(region="us-east-1", profile="nonesuch")
    for ask in (
        lambda: make_ec2_client(settings, retries=True),
        lambda: find_region(AwsSettings(profile="nonesuch")),
    ):
        with pytest.raises(errors.InputError, match="nonesuch"):
            ask()
    monkeypatch.setenv("AWS_PROFILE", "nothere")
    with pytest.raises(errors.InputError, match="nothere"):
        make_ec2_client(AwsSettings(region="us-east-1"), retries=True)


def test_a_config_file_that_can_not_be_read_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile ops\nregion = us-west-2\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(errors.InputError, match="config"):
        find_region(AwsSettings(profile="ops"))


def test_an_endpoint_that_is_no_url_is_an_input_error_that_quotes_it() -> None:
    with pytest.raises(errors.InputError, match="not a url"):
        make_ec2_client(AwsSettings(region="us-east-1", endpoint_url="not a url"), retries=True)


def test_a_profile_gives_region_and_credentials(
    ec2: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile ops]\nregion = us-east-1\n")
    (tmp_path / "credentials").write_text("[ops]\naws_access_key_id = AKIAOPS\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    settings = AwsSettings(profile="ops", endpoint_url=ec2.endpoint)
    assert find_region(settings) == "us-east-1"
    Ec2(settings, Limits()).describe_instance(instance.instance_id)
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
        Ec2(settings, Limits()).describe_instance(instance.instance_id)
        used.append(ec2.calls("DescribeInstances")[-1]["access_key"])
    assert used == [SECRETS["accessKey"], "AKIAENVIRONMENT"]


def test_the_endpoint_of_the_environment_is_used_as_boto3_uses_it(
    ec2: EmbeddedEC2, instance: LaunchedInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ec2.environment().items():
        monkeypatch.setenv(name, value)
    assert Ec2(AwsSettings(), Limits()).describe_instance(instance.instance_id).instance_id == instance.instance_id


def test_a_read_timeout_that_is_not_a_number_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPSET_READ_SECONDS", "soon")
    with pytest.raises(errors.InputError, match="SNAPSET_READ_SECONDS"):
        make_ec2_client(from_config(region="us-east-1", **SECRETS), retries=False)


def test_the_caller_is_whose_credentials_they_are(ec2: EmbeddedEC2) -> None:
    settings = from_config(region="us-east-1", endpoints={"sts": ec2.endpoint}, **SECRETS)
    assert find_caller(settings).startswith("arn:aws:sts::")
    with pytest.raises(
        errors.InputError, match="asking AWS whose credentials these are: no AWS credentials were fou"
    ):
        find_caller(from_config(region="us-east-1", endpoints={"sts": ec2.endpoint}))


def test_a_role_is_assumed_with_all_that_is_said_of_it(ec2: EmbeddedEC2, instance: LaunchedInstance) -> None:
    role = {
        "roleArn": "arn:aws:iam::123456789012:role/backup",
        "sessionName": "nightly",
        "externalId": "shared-with-nobody",
        "policy": "{}",
        "policyArns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        "sourceIdentity": "ops",
        "tags": {"team": "ops"},
        "transitiveTagKeys": ["team"],
        "duration": "1h",
    }
    endpoints = {"ec2": ec2.endpoint, "sts": ec2.endpoint}
    settings = from_config(region="us-east-1", endpoints=endpoints, assumeRoles=[role], **SECRETS)
    Ec2(settings, Limits()).describe_instance(instance.instance_id)
    [assumed] = ec2.calls("AssumeRole")
    wanted = {
        "RoleArn": role["roleArn"],
        "RoleSessionName": "nightly",
        "ExternalId": "shared-with-nobody",
        "Policy": "{}",
        "PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/ReadOnlyAccess",
        "SourceIdentity": "ops",
        "Tags.member.1.Key": "team",
        "Tags.member.1.Value": "ops",
        "TransitiveTagKeys.member.1": "team",
        "DurationSeconds": "3600",
    }
    assert wanted.items() <= assumed["params"].items()
    assert assumed["access_key"] == SECRETS["accessKey"]
    assert ec2.calls("DescribeInstances")[-1]["access_key"] != SECRETS["accessKey"]


def test_what_is_not_said_of_a_role_is_not_sent(ec2: EmbeddedEC2, instance: LaunchedInstance) -> None:
    role = {"roleArn": "arn:aws:iam::123456789012:role/backup"}
    endpoints = {"ec2": ec2.endpoint, "sts": ec2.endpoint}
    settings = from_config(region="us-east-1", endpoints=endpoints, assumeRole=role, **SECRETS)
    Ec2(settings, Limits()).describe_instance(instance.instance_id)
    [assumed] = ec2.calls("AssumeRole")
    assert assumed["params"].keys() - {"Action", "Version"} == {"RoleArn", "RoleSessionName"}


def test_roles_are_assumed_one_after_the_other(ec2: EmbeddedEC2, instance: LaunchedInstance) -> None:
    roles = [{"roleArn": f"arn:aws:iam::123456789012:role/{name}"} for name in ("first", "second")]
    endpoints = {"ec2": ec2.endpoint, "sts": ec2.endpoint}
    settings = from_config(region="us-east-1", endpoints=endpoints, assumeRoles=roles, **SECRETS)
    Ec2(settings, Limits()).describe_instance(instance.instance_id)
    first, second = ec2.calls("AssumeRole")
    assert [call["params"]["RoleArn"] for call in (first, second)] == [role["roleArn"] for role in roles]
    assert first["access_key"] == SECRETS["accessKey"]
    assert second["access_key"] != SECRETS["accessKey"]


def test_each_call_is_shown_on_request_without_its_parameters_and_without_credentials(
    ec2: EmbeddedEC2,
    instance: LaunchedInstance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = from_config(region="us-east-1", endpoints={"ec2": ec2.endpoint}, **SECRETS)
    Ec2(settings, Limits()).describe_instance(instance.instance_id)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("SNAPSET_VERBOSE", "1")
    _clients_for.cache_clear()
    ec2.fault(action="DescribeInstances", kind="error", code="Blocked", status=403, skip=1)
    aws = Ec2(settings, Limits())
    aws.describe_instance(instance.instance_id)
    with pytest.raises(errors.NotPermittedError):
        aws.describe_instance(instance.instance_id)
    shown = capsys.readouterr().err
    done, refused = shown.splitlines()
    assert done.startswith("aws: DescribeInstances: HTTP 200, request ")
    assert refused.startswith("aws: DescribeInstances: HTTP 403 Blocked, request ")
    assert not [secret for secret in (*SECRETS.values(), instance.instance_id) if secret in shown]
