"""The server process and its client: where it listens, what it prints, when it exits, how it is controlled."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import boto3
import pytest
from snapset.emulator.client import EmbeddedEC2, EmbeddedEC2Error

COMMAND = [sys.executable, "-m", "snapset.emulator"]


@pytest.fixture
def start() -> Any:
    """Start a server from the command line; return the process and its line of JSON."""
    started = []

    def run(*options: Any) -> Any:
        process = subprocess.Popen(
            [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield run
    for process in started:
        process.kill()
        process.communicate()


def answers(endpoint: str) -> Any:
    address = urlsplit(endpoint)
    try:
        socket.create_connection(("127.0.0.1", address.port or 0), timeout=5).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_one_line_and_ends_cleanly_on_a_signal(start: Any, number: int) -> None:
    process, line = start("--snapshot-seconds", "forever", "--visibility-seconds", "1.5", "--region", "eu-west-1")
    assert list(line) == ["endpoint"]
    assert answers(line["endpoint"])
    with urlopen(f"{line['endpoint']}/_snapset/settings", timeout=30) as answer:
        settings = json.load(answer)
    assert settings == {
        "snapshot_seconds": "forever",
        "visibility_seconds": 1.5,
        "instance_seconds": 0.0,
        "status_seconds": 0.0,
        "volume_seconds": {},
        "block_token_seconds": 86400.0,
    }
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
    assert not answers(line["endpoint"])


def test_it_listens_on_the_loopback_only(ec2_server: EmbeddedEC2) -> None:
    address = urlsplit(ec2_server.endpoint)
    assert address.hostname == "127.0.0.1"
    # A server on all interfaces would answer here as well.
    with pytest.raises(OSError, match=r"refused|assign|unreachable|timed out"):
        socket.create_connection(("127.0.0.2", address.port or 0), timeout=5).close()


def test_it_exits_when_its_parent_is_killed(eventually: Any) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from snapset.emulator.client import EmbeddedEC2\n"
            "with EmbeddedEC2() as ec2: print(ec2.endpoint, flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        endpoint = parent.stdout.readline().strip()
        assert answers(endpoint)
        parent.kill()
    eventually(lambda: answers(endpoint), lambda now: not now)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example:5999"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/_snapset/calls"), ("POST", "/moto-api/reset"), ("GET", "/?Action=DescribeInstances")],
)
def test_it_answers_no_web_page(ec2_server: EmbeddedEC2, headers: dict[str, str], method: str, path: str) -> None:
    address = urlsplit(ec2_server.endpoint)
    connection = http.client.HTTPConnection("127.0.0.1", address.port or 0, timeout=10)
    with closing(connection):
        connection.request(method, path, headers=headers)
        assert connection.getresponse().status == 403


def test_the_error_says_that_the_port_is_in_use(ec2_server: EmbeddedEC2) -> None:
    port = urlsplit(ec2_server.endpoint).port or 0
    with pytest.raises(EmbeddedEC2Error, match=r"(?s)did not start.*in use"), EmbeddedEC2(port=port):
        pass


def test_it_serves_s3_and_sts_too(ec2_server: EmbeddedEC2) -> None:
    session = boto3.Session(
        aws_access_key_id="testing", aws_secret_access_key="testing", region_name=ec2_server.region
    )
    sts = session.client("sts", endpoint_url=ec2_server.endpoint)
    assert sts.get_caller_identity()["Account"] == "123456789012"
    assert (
        "AccessKeyId"
        in sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/x", RoleSessionName="session")["Credentials"]
    )
    s3 = session.client("s3", endpoint_url=ec2_server.endpoint)
    s3.create_bucket(Bucket="state")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["state"]


def test_a_denied_sts_call_answers_with_stss_own_code(ec2_server: EmbeddedEC2, refused: Any) -> None:
    ec2_server.fault(kind="deny", action="GetCallerIdentity")
    session = boto3.Session(
        aws_access_key_id="testing", aws_secret_access_key="testing", region_name=ec2_server.region
    )
    with refused("AccessDenied", "sts:GetCallerIdentity", status=403):
        session.client("sts", endpoint_url=ec2_server.endpoint).get_caller_identity()


def test_the_environment_is_enough_for_boto3(ec2_server: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ec2_server.environment().items():
        monkeypatch.setenv(name, value)
    assert boto3.Session().client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert [call["region"] for call in ec2_server.calls()] == [ec2_server.region]


def test_a_missing_feature_of_moto_is_reported_and_not_retried(
    ec2_server: EmbeddedEC2, retrying: Any, refused: Any
) -> None:
    with refused("NotImplemented", "describe_volume_status", status=501):
        retrying.describe_volume_status()
    assert [call["code"] for call in ec2_server.calls()] == ["NotImplemented"]


def test_a_reset_forgets_everything(ec2_server: EmbeddedEC2, ec2: Any) -> None:
    initial = ec2_server.settings()
    ec2_server.settings(snapshot_seconds=60, volume_seconds={"vol-1": 5})
    ec2_server.fault(kind="deny")
    ec2_server.clear_faults()
    ec2.create_snapshots(InstanceSpecification={"InstanceId": ec2_server.launch().instance_id})
    ec2_server.fail()
    ec2_server.fault(kind="error", times=None)
    ec2_server.reset()
    assert ec2_server.calls() == []
    assert ec2_server.faults_left() == []
    assert ec2_server.settings() == initial
    assert ec2.describe_instances()["Reservations"] == []
    assert ec2.describe_snapshots()["Snapshots"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "nowhere", None, 404),
        ("GET", "calls?colour=blue", None, 400),
        ("POST", "calls", "{}", 404),
        ("POST", "settings", '{"snapshot_seconds": -1}', 400),
        ("POST", "settings", '{"snapshot_seconds": "soon"}', 400),
        ("POST", "settings", '{"speed": 1}', 400),
        ("POST", "settings", "nonsense", 400),
        ("POST", "snapshots/fail", "{}", 400),
        ("POST", "snapshots/lock", "{}", 400),
        ("POST", "instances/i-0123456789abcdef0", '{"outpost_arn": null}', 404),
    ],
)
def test_invalid_control_requests_are_refused_with_an_error(
    ec2_server: EmbeddedEC2, method: str, path: str, body: Any, status: int
) -> None:
    request = Request(f"{ec2_server.endpoint}/_snapset/{path}", data=body and body.encode(), method=method)
    with pytest.raises(HTTPError) as caught:
        urlopen(request, timeout=30)
    with caught.value as answer:
        assert answer.code == status
        assert json.load(answer)["error"]


@pytest.mark.parametrize("place", [{"outpost_arn": "op-1"}, {"availability_zone": "us-east-1q"}])
def test_an_instance_can_not_be_placed_at_an_invalid_place(ec2_server: EmbeddedEC2, place: Any) -> None:
    instance_id = ec2_server.launch().instance_id
    with pytest.raises(EmbeddedEC2Error, match=next(iter(place.values()))):
        ec2_server.place(instance_id, **place)


def test_using_a_client_outside_its_block_raises() -> None:
    server = EmbeddedEC2()
    with pytest.raises(EmbeddedEC2Error, match="with"):
        server.reset()


def test_no_file_of_the_current_folder_is_taken_for_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("argparse", "moto", "runpy", "snapset"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(f'{__file__} was imported')")
    monkeypatch.chdir(tmp_path)
    with EmbeddedEC2() as ec2:
        assert answers(ec2.endpoint)


def test_the_client_needs_no_moto() -> None:
    check = "import sys; import snapset.emulator.client; sys.exit('moto' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, env={**os.environ}).returncode == 0
