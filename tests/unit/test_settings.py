"""`snapset.aws.settings`: the stack's `aws` config, and config that can't be meant.

What can't be meant is an input error that names the key: never another account's credentials, never a secret shown.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pulumi_aws as aws
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset import errors
from snapset.aws import session
from snapset.aws.ec2 import Ec2
from snapset.aws.session import make_ec2_client
from snapset.aws.settings import KNOWN_KEYS, AwsSettings, Role
from snapset.emulator.client import EmbeddedEC2
from snapset.limits import Limits

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
    assert (read.config_files, read.credentials_files) == (("/etc/aws/config",), ("/etc/aws/credentials",))
    assert from_config(sharedConfigFiles=[]).config_files == ()


def test_of_several_files_the_last_that_has_the_profile_is_used(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("first", "second", "third")]
    for path, profile in zip(paths, ("ops", "ops", "other"), strict=True):
        path.write_text(f"[{profile}]\naws_access_key_id = AKIA{path.name}\naws_secret_access_key = x\n")
    files = [str(path) for path in paths]
    client = make_ec2_client(
        from_config(region="us-east-1", profile="ops", sharedCredentialsFiles=files), retries=False
    )
    assert key_of(client) == "AKIAsecond"


def test_endpoints_for_fips_and_dual_stack_are_used() -> None:
    fips = from_config(region="us-east-1", useFipsEndpoint="true")
    dual = from_config(region="us-east-1", useDualstackEndpoint=True)
    assert make_ec2_client(fips, retries=False).meta.endpoint_url == "https://ec2-fips.us-east-1.amazonaws.com"
    assert make_ec2_client(dual, retries=False).meta.endpoint_url == "https://ec2.us-east-1.api.aws"
    with pytest.raises(errors.InputError, match="reading aws:useFipsEndpoint: it is neither true nor false"):
        from_config(useFipsEndpoint="maybe")


def test_proxies_and_certificates_are_used() -> None:
    settings = from_config(region="us-east-1", httpsProxy="http://127.0.0.1:9", **SECRETS)
    client: Any = make_ec2_client(settings, retries=False)
    assert client.meta.config.proxies == {"https": "http://127.0.0.1:9"}
    bundled = from_config(region="us-east-1", customCaBundle="/nonexistent/ca.pem", **SECRETS)
    with_bundle: Any = make_ec2_client(bundled, retries=False)
    assert with_bundle._endpoint.http_session._verify == "/nonexistent/ca.pem"


@pytest.mark.parametrize("name", ["assumeRoleWithWebIdentity", "noProxy"])
def test_what_can_not_be_followed_is_refused_by_name(name: str) -> None:
    with pytest.raises(errors.InputError, match=f"reading aws:{name}: snapset takes "):
        from_config(**{name: "x"})


def test_default_tags_outside_tags_are_refused_by_name() -> None:
    with pytest.raises(errors.InputError, match="reading aws:defaultTags: it has no key owner"):
        from_config(defaultTags={"owner": "ops"})


def test_a_setting_of_a_provider_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(errors.InputError, match="snapset does not know newAwsKey, and would not follow it"):
        AwsSettings.from_provider({"region": "us-east-1", "unknownKeys": "newAwsKey"})


def test_every_setting_of_the_aws_provider_is_followed_refused_or_harmless() -> None:
    names = inspect.signature(aws.Provider._internal_init).parameters.keys() - {"self", "resource_name", "opts"}
    keys = {re.sub(r"_([a-z])", lambda match: match[1].upper(), name) for name in names if not name.startswith("__")}
    assert keys <= KNOWN_KEYS


@pytest.fixture
def account(ec2: EmbeddedEC2) -> dict[str, Any]:
    """The config of a stack whose calls go to the embedded EC2, as the account 123456789012."""
    endpoints = {"ec2": ec2.endpoint, "sts": ec2.endpoint}
    return {"region": "us-east-1", "endpoints": endpoints, "accessKey": "testing", "secretKey": "testing"}


@pytest.mark.parametrize(
    ("fence", "reason"),
    [
        ({"allowedAccountIds": '["210987654321"]'}, "123456789012 is not among aws:allowedAccountIds"),
        ({"forbiddenAccountIds": ["123456789012"]}, "123456789012 is among aws:forbiddenAccountIds"),
        ({"allowedAccountIds": ["123456789012"], "forbiddenAccountIds": ["210987654321"]}, None),
    ],
)
def test_an_account_outside_the_fences_is_refused_before_the_first_call(
    ec2: EmbeddedEC2, account: dict[str, Any], fence: dict[str, Any], reason: str | None
) -> None:
    settings = from_config(**account, **fence)
    ec2.clear_calls()
    if reason:
        with pytest.raises(errors.InputError, match=f"checking the account: {reason}. Use credentials"):
            Ec2(settings, Limits()).find_snapshots({})
        assert ec2.calls("DescribeSnapshots") == []
    else:
        Ec2(settings, Limits()).find_snapshots({})
        assert len(ec2.calls("DescribeSnapshots")) == 1


def write_config(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> None:
    path.write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))


def test_a_profile_that_would_ask_for_a_code_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    roles = f"role_arn = {ROLE}\nsource_profile = base\n"
    write_config(
        monkeypatch,
        tmp_path / "config",
        f"[profile ops]\n{roles}mfa_serial = arn:aws:iam::123456789012:mfa/x\n"
        f"[profile leads-there]\nrole_arn = {ROLE}\nsource_profile = ops\n"
        "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = x\n",
    )
    for profile in ("ops", "leads-there"):
        with pytest.raises(errors.InputError, match="using AWS profile ops: it has an mfa_serial, and nobody may be"):
            make_ec2_client(from_config(region="us-east-1", profile=profile), retries=False)
    monkeypatch.setenv("AWS_PROFILE", "ops")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWINS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert key_of(make_ec2_client(from_config(region="us-east-1"), retries=False)) == "AKIAWINS"


@pytest.mark.parametrize("process", ["/nonexistent/tool", "false", "echo no-json"])
def test_a_credential_process_that_fails_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, process: str
) -> None:
    write_config(monkeypatch, tmp_path / "config", f"[profile ops]\ncredential_process = {process}\n")
    with pytest.raises(errors.SnapsetError) as caught:
        Ec2(from_config(region="us-east-1", profile="ops", endpoints={"ec2": ENDPOINT}), Limits()).find_snapshots({})
    assert caught.value.exit_code in (2, 3)
    assert "\n" not in str(caught.value)


def test_a_credential_process_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # It reads from what nobody writes to, as one that asks for a code does, and ends with the test.
    process = f"{sys.executable} -c 'import sys; open(sys.argv[1]).read()' {tmp_path / 'pipe'}"
    os.mkfifo(tmp_path / "pipe")
    write_config(monkeypatch, tmp_path / "config", f"[profile ops]\ncredential_process = {process}\n")
    monkeypatch.setattr(session, "_CREDENTIAL_SECONDS", 1)
    try:
        with pytest.raises(errors.NotPermittedError, match=r"none came within 1 s\. Check credential_process"):
            make_ec2_client(from_config(region="us-east-1", profile="ops"), retries=False)
    finally:
        (tmp_path / "pipe").write_bytes(b"")


def test_tags_of_a_role_that_are_no_map_are_refused_without_the_external_id() -> None:
    with pytest.raises(errors.InputError, match="the tags of a role are no map") as caught:
        from_config(assumeRoles=[{"roleArn": ROLE, "externalId": "hidden", "tags": ["a"]}])
    assert "hidden" not in str(caught.value)


def key_of(client: Any) -> str:
    return str(client._request_signer._credentials.access_key)


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
