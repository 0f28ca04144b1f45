"""EBS direct: the blocks of snapshots, as a real boto3 client lists and reads them."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from snapset.emulator.client import EmbeddedEC2

BLOCK = 512 * 1024
UNKNOWN = "snap-0123456789abcdef0"
OTHER_ACCOUNT = "999988887777"


@pytest.fixture(scope="session")
def connect(ec2_server: EmbeddedEC2) -> Any:
    """A client of a service that tries each call once; `role`: what AssumeRole answered."""

    def make(service: Any, role: Any = None, **options: Any) -> Any:
        key, secret, session = ("testing", "testing", None)
        if role:
            key, secret, session = (
                role["Credentials"][name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
            )
        return boto3.client(
            service,
            region_name=options.pop("region", "us-east-1"),
            endpoint_url=ec2_server.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=session,
            config=Config(retries={"total_max_attempts": 1}, proxies={}, **options),
        )

    return make


@pytest.fixture(scope="session")
def ebs(connect: Any) -> Any:
    # Without botocore's own checks, to see those of EBS.
    return connect("ebs", parameter_validation=False)


@pytest.fixture
def volume_id(ec2_server: EmbeddedEC2) -> str:
    """A volume with content in three blocks."""
    found = ec2_server.launch().root_volume_id
    for index in (0, 7, 8):
        ec2_server.write(found, index * BLOCK, f"block {index}".encode())
    return found


@pytest.fixture
def take(ec2: Any, volume_id: str) -> Any:
    """Take a snapshot of the volume."""
    return lambda: str(ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"])


@pytest.fixture
def fill(ec2_server: EmbeddedEC2, volume_id: str) -> Any:
    """Write to each of these blocks."""

    def write(blocks: range) -> None:
        for index in blocks:
            ec2_server.write(volume_id, index * BLOCK, b"x")

    return write


@pytest.fixture
def refused_with() -> Any:
    """Call, and compare code, Reason and status of the error; return its message."""

    def compare(expected: tuple[str, str, int], call: Any, **parameters: Any) -> str:
        with pytest.raises(ClientError) as caught:
            call(**parameters)
        answer: Any = caught.value.response
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        assert (answer["Error"]["Code"], answer["Reason"], status) == expected
        return str(answer["Error"]["Message"])

    return compare


def invalid(reason: str) -> tuple[str, str, int]:
    return "ValidationException", reason, 400


def list_all(call: Any, key: str, **parameters: Any) -> list[Any]:
    """All pages."""
    answer = call(**parameters)
    found = list(answer[key])
    while token := answer.get("NextToken"):
        answer = call(**parameters, NextToken=token)
        found += answer[key]
    return found


def read(ebs: Any, snapshot_id: str, block: Any, token: str = "BlockToken") -> bytes:
    got = ebs.get_snapshot_block(SnapshotId=snapshot_id, BlockIndex=block["BlockIndex"], BlockToken=block[token])
    data = bytes(got["BlockData"].read())
    assert (got["DataLength"], got["ChecksumAlgorithm"]) == (BLOCK, "SHA256")
    assert b64decode(got["Checksum"]) == hashlib.sha256(data).digest()
    return data


def test_the_blocks_that_were_written_are_listed_and_read(
    ebs: Any, ec2_server: EmbeddedEC2, take: Any, volume_id: str
) -> None:
    ec2_server.write(volume_id, 20 * BLOCK, bytes(9))
    snapshot_id = take()
    ec2_server.write(volume_id, 0, b"later")
    before = datetime.now(timezone.utc)
    listed = ebs.list_snapshot_blocks(SnapshotId=snapshot_id)
    assert [block["BlockIndex"] for block in listed["Blocks"]] == [0, 7, 8, 20]
    assert (listed["VolumeSize"], listed["BlockSize"], "NextToken" in listed) == (8, BLOCK, False)
    assert timedelta(hours=23) < listed["ExpiryTime"] - before < timedelta(hours=25)
    for block in listed["Blocks"]:
        index = block["BlockIndex"]
        assert read(ebs, snapshot_id, block) == ec2_server.read(snapshot_id, index * BLOCK, BLOCK)


def test_an_empty_snapshot_has_no_blocks(ebs: Any, ec2: Any, ec2_server: EmbeddedEC2) -> None:
    snapshot_id = ec2.create_snapshot(VolumeId=ec2_server.launch().root_volume_id)["SnapshotId"]
    assert ebs.list_snapshot_blocks(SnapshotId=snapshot_id)["Blocks"] == []


def test_a_copy_is_read_in_its_own_region(connect: Any, ebs: Any, ec2_server: EmbeddedEC2, take: Any) -> None:
    far = ec2_server.ec2(region="eu-west-1")
    copy = far.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=take())["SnapshotId"]
    there = connect("ebs", region="eu-west-1")
    [first, *_] = there.list_snapshot_blocks(SnapshotId=copy)["Blocks"]
    assert read(there, copy, first).startswith(b"block 0")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        ebs.list_snapshot_blocks(SnapshotId=copy)


class TestPages:
    def test_pages_have_each_block_once_and_in_order(self, ebs: Any, take: Any, fill: Any) -> None:
        fill(range(250))
        snapshot_id = take()
        blocks = list_all(ebs.list_snapshot_blocks, "Blocks", SnapshotId=snapshot_id)
        assert [block["BlockIndex"] for block in blocks] == list(range(250))
        # The tokens of the first page are valid after the last one.
        assert read(ebs, snapshot_id, blocks[0])
        first = ebs.list_snapshot_blocks(SnapshotId=snapshot_id, MaxResults=200)
        assert len(first["Blocks"]) == 200

    @pytest.mark.parametrize(("asked", "got"), [(None, 100), (1, 100), (100, 100), (101, 101), (10_000, 250)])
    def test_a_page_has_at_least_a_hundred_blocks(
        self, ebs: Any, take: Any, fill: Any, asked: int | None, got: int
    ) -> None:
        fill(range(250))
        options = {} if asked is None else {"MaxResults": asked}
        assert len(ebs.list_snapshot_blocks(SnapshotId=take(), **options)["Blocks"]) == got

    def test_too_large_a_page_is_refused(self, ebs: Any, take: Any, refused_with: Any) -> None:
        expected = invalid("INVALID_PARAMETER_VALUE")
        assert "10000" in refused_with(expected, ebs.list_snapshot_blocks, SnapshotId=take(), MaxResults=10_001)

    def test_a_list_starts_at_the_next_block_unless_a_page_token_is_given(
        self, ebs: Any, take: Any, fill: Any
    ) -> None:
        fill(range(100, 300))
        snapshot_id = take()
        first = ebs.list_snapshot_blocks(SnapshotId=snapshot_id, StartingBlockIndex=8)
        assert [block["BlockIndex"] for block in first["Blocks"]] == [8, *range(100, 199)]
        rest = ebs.list_snapshot_blocks(
            SnapshotId=snapshot_id, NextToken=first["NextToken"], StartingBlockIndex=0, MaxResults=200
        )
        assert [block["BlockIndex"] for block in rest["Blocks"]] == list(range(199, 300))

    def test_a_page_token_is_for_one_list_only(self, ebs: Any, take: Any, fill: Any, refused_with: Any) -> None:
        fill(range(250))
        one, other = take(), take()
        listed = ebs.list_snapshot_blocks(SnapshotId=one)
        for token in (listed["NextToken"], listed["Blocks"][0]["BlockToken"], "AAAB", "nonsense"):
            refused_with(invalid("INVALID_PAGE_TOKEN"), ebs.list_snapshot_blocks, SnapshotId=other, NextToken=token)


class TestTokens:
    def test_each_list_has_new_ones(self, ebs: Any, take: Any) -> None:
        snapshot_id = take()
        tokens = {
            block["BlockToken"]
            for _ in range(2)
            for block in ebs.list_snapshot_blocks(SnapshotId=snapshot_id)["Blocks"]
        }
        assert len(tokens) == 6
        assert all(len(token) <= 256 for token in tokens)

    def test_a_token_is_for_one_block_of_one_snapshot(self, ebs: Any, take: Any, refused_with: Any) -> None:
        one, other = take(), take()
        [first, second, *_] = ebs.list_snapshot_blocks(SnapshotId=one)["Blocks"]
        token = first["BlockToken"]
        changed = b64encode(b64decode(token)[:-1] + b"\0").decode()
        for snapshot_id, index, given in [
            (other, 0, token),
            (one, second["BlockIndex"], token),
            (one, 1, token),
            (one, 0, changed),
            (one, 0, "AAAB"),
            (one, 0, "nonsense"),
        ]:
            refused_with(
                invalid("INVALID_BLOCK_TOKEN"),
                ebs.get_snapshot_block,
                SnapshotId=snapshot_id,
                BlockIndex=index,
                BlockToken=given,
            )

    def test_tokens_expire(self, ebs: Any, ec2_server: EmbeddedEC2, take: Any, refused_with: Any) -> None:
        snapshot_id = take()
        ec2_server.settings(block_token_seconds=3600)
        listed = ebs.list_snapshot_blocks(SnapshotId=snapshot_id)
        assert listed["ExpiryTime"] - datetime.now(timezone.utc) < timedelta(seconds=3601)
        [block, *_] = listed["Blocks"]
        ec2_server.settings(block_token_seconds=0)
        message = refused_with(
            invalid("INVALID_BLOCK_TOKEN"), ebs.get_snapshot_block, SnapshotId=snapshot_id, **block
        )
        assert "expired" in message
        ec2_server.settings(block_token_seconds="forever")
        assert ebs.list_snapshot_blocks(SnapshotId=snapshot_id)["ExpiryTime"].year > 2100
        assert read(ebs, snapshot_id, block).startswith(b"block 0")


class TestWhatCanNotBeRead:
    @pytest.fixture(params=["list_snapshot_blocks", "list_changed_blocks", "get_snapshot_block"])
    def refused_all(self, request: Any, ebs: Any, take: Any, refused_with: Any) -> Any:
        """Each call must refuse this snapshot, in the same words."""
        name = request.param
        good = take() if name == "list_changed_blocks" else ""
        rest: dict[str, Any] = {
            "list_snapshot_blocks": {},
            "list_changed_blocks": {"FirstSnapshotId": good},
            "get_snapshot_block": {"BlockIndex": 0, "BlockToken": "AAAB"},
        }[name]
        which = "SecondSnapshotId" if good else "SnapshotId"

        def call(expected: Any, snapshot_id: str, client: Any = ebs) -> str:
            message: str = refused_with(expected, getattr(client, name), **{which: snapshot_id}, **rest)
            return message

        return call

    def test_an_unknown_snapshot(self, refused_all: Any) -> None:
        assert UNKNOWN in refused_all(("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", 404), UNKNOWN)

    @pytest.mark.parametrize("snapshot_id", ["vol-0123456789abcdef0", "snap-xyz", "snap-"])
    def test_a_malformed_id(self, refused_all: Any, snapshot_id: str) -> None:
        assert snapshot_id in refused_all(invalid("INVALID_SNAPSHOT_ID"), snapshot_id)

    def test_a_snapshot_that_is_not_completed(self, ec2_server: EmbeddedEC2, take: Any, refused_all: Any) -> None:
        ec2_server.settings(snapshot_seconds="forever")
        pending = take()
        assert "not completed" in refused_all(invalid("INVALID_SNAPSHOT_ID"), pending)
        ec2_server.fail([pending])
        assert "not completed" in refused_all(invalid("INVALID_SNAPSHOT_ID"), pending)

    def test_an_archived_one(self, ec2: Any, take: Any, refused_all: Any) -> None:
        archived = take()
        ec2.modify_snapshot_tier(SnapshotId=archived, StorageTier="archive")
        assert "archived" in refused_all(invalid("INVALID_SNAPSHOT_ID"), archived)

    def test_one_on_an_outpost(self, ec2: Any, ec2_server: EmbeddedEC2, refused_all: Any) -> None:
        outpost = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
        instance_id = ec2_server.launch().instance_id
        ec2_server.place(instance_id, outpost_arn=outpost)
        made = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id}, OutpostArn=outpost)
        local = made["Snapshots"][0]["SnapshotId"]
        assert "Outpost" in refused_all(invalid("INVALID_SNAPSHOT_ID"), local)

    def test_another_account_reads_what_is_shared_with_it_and_nothing_public(
        self, connect: Any, ec2: Any, take: Any, refused_with: Any
    ) -> None:
        role = connect("sts").assume_role(RoleArn=f"arn:aws:iam::{OTHER_ACCOUNT}:role/x", RoleSessionName="test")
        there, snapshot_id = connect("ebs", role=role), take()
        expected = ("AccessDeniedException", "UNAUTHORIZED_ACCOUNT", 403)
        assert OTHER_ACCOUNT in refused_with(expected, there.list_snapshot_blocks, SnapshotId=snapshot_id)
        ec2.modify_snapshot_attribute(SnapshotId=snapshot_id, OperationType="add", GroupNames=["all"])
        refused_with(expected, there.list_snapshot_blocks, SnapshotId=snapshot_id)
        ec2.modify_snapshot_attribute(SnapshotId=snapshot_id, OperationType="add", UserIds=[OTHER_ACCOUNT])
        [first, *_] = there.list_snapshot_blocks(SnapshotId=snapshot_id)["Blocks"]
        assert read(there, snapshot_id, first).startswith(b"block 0")


class TestChanges:
    def test_the_blocks_that_differ_are_listed_and_read(
        self, ebs: Any, ec2_server: EmbeddedEC2, take: Any, volume_id: str
    ) -> None:
        before = take()
        ec2_server.write(volume_id, 7 * BLOCK, b"changed")
        ec2_server.write(volume_id, 9 * BLOCK, b"added")
        after = take()
        listed = ebs.list_changed_blocks(FirstSnapshotId=before, SecondSnapshotId=after)
        [changed, added] = listed["ChangedBlocks"]
        assert (listed["VolumeSize"], listed["BlockSize"]) == (8, BLOCK)
        assert (changed["BlockIndex"], added["BlockIndex"], "FirstBlockToken" in added) == (7, 9, False)
        assert read(ebs, before, changed, "FirstBlockToken").startswith(b"block 7")
        assert read(ebs, after, changed, "SecondBlockToken").startswith(b"changed")
        assert read(ebs, after, added, "SecondBlockToken").startswith(b"added")

    def test_it_has_pages_too(self, ebs: Any, take: Any, fill: Any) -> None:
        before = take()
        fill(range(100, 350))
        changed = list_all(ebs.list_changed_blocks, "ChangedBlocks", FirstSnapshotId=before, SecondSnapshotId=take())
        assert [block["BlockIndex"] for block in changed] == list(range(100, 350))

    def test_snapshots_of_two_volumes_are_not_compared(
        self, ebs: Any, ec2: Any, ec2_server: EmbeddedEC2, take: Any, refused_with: Any
    ) -> None:
        other = ec2.create_snapshot(VolumeId=ec2_server.launch().root_volume_id)["SnapshotId"]
        refused_with(
            invalid("UNRELATED_SNAPSHOTS"), ebs.list_changed_blocks, FirstSnapshotId=other, SecondSnapshotId=take()
        )
        refused_with(invalid("INVALID_PARAMETER_VALUE"), ebs.list_changed_blocks, SecondSnapshotId=take())


class TestFaultsAndLog:
    def test_the_calls_are_logged(self, ebs: Any, ec2_server: EmbeddedEC2, take: Any) -> None:
        snapshot_id = take()
        ec2_server.clear_calls()
        [first, *_] = ebs.list_snapshot_blocks(SnapshotId=snapshot_id, MaxResults=100)["Blocks"]
        read(ebs, snapshot_id, first)
        with pytest.raises(ClientError):
            ebs.list_changed_blocks(FirstSnapshotId=snapshot_id, SecondSnapshotId=UNKNOWN, NextToken="AAAB")
        seen = [[call[name] for name in ("service", "action", "status", "code")] for call in ec2_server.calls()]
        assert seen == [
            ["ebs", "ListSnapshotBlocks", 200, None],
            ["ebs", "GetSnapshotBlock", 200, None],
            ["ebs", "ListChangedBlocks", 404, "ResourceNotFoundException"],
        ]
        assert [call["params"] for call in ec2_server.calls()] == [
            {"SnapshotId": snapshot_id, "MaxResults": "100"},
            {"SnapshotId": snapshot_id, "BlockIndex": "0", "BlockToken": first["BlockToken"]},
            {"FirstSnapshotId": snapshot_id, "SecondSnapshotId": UNKNOWN, "NextToken": "AAAB"},
        ]
        assert "Signature" not in json.dumps(ec2_server.calls())

    @pytest.mark.parametrize(
        ("script", "expected"),
        [
            ({"kind": "deny"}, ("AccessDeniedException", "UNAUTHORIZED_ACCOUNT", 403)),
            (
                {"kind": "error", "code": "RequestLimitExceeded"},
                ("RequestThrottledException", "ACCOUNT_THROTTLED", 400),
            ),
            (
                {"kind": "error", "code": "RequestThrottledException", "reason": "RESOURCE_LEVEL_THROTTLE"},
                ("RequestThrottledException", "RESOURCE_LEVEL_THROTTLE", 400),
            ),
            (
                {"kind": "error_after", "code": "ValidationException", "reason": "INVALID_BLOCK_TOKEN"},
                invalid("INVALID_BLOCK_TOKEN"),
            ),
            ({"kind": "rate"}, ("RequestThrottledException", "ACCOUNT_THROTTLED", 400)),
        ],
    )
    def test_scripted_errors_have_the_words_of_ebs_direct(
        self, ebs: Any, ec2_server: EmbeddedEC2, take: Any, refused_with: Any, script: Any, expected: Any
    ) -> None:
        ec2_server.fault(action="ListSnapshotBlocks", **script)
        snapshot_id = take()
        message = refused_with(expected, ebs.list_snapshot_blocks, SnapshotId=snapshot_id)
        if script["kind"] == "deny":
            assert message.startswith("User: arn:aws:iam::123456789012:user/testing is not authorized to perform: ")
            assert f"ebs:ListSnapshotBlocks on resource: arn:aws:ec2:us-east-1::snapshot/{snapshot_id}" in message
        [call] = ec2_server.calls("ListSnapshotBlocks")
        assert (call["code"], call["status"], call["fault"]) == (expected[0], expected[2], script["kind"])

    def test_an_internal_error_has_its_own_name(self, ebs: Any, ec2_server: EmbeddedEC2, take: Any) -> None:
        ec2_server.fault(action="ListSnapshotBlocks", kind="error")
        with pytest.raises(ClientError, match="InternalServerException") as caught:
            ebs.list_snapshot_blocks(SnapshotId=take())
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500

    def test_a_fault_finds_its_snapshot_and_connections_are_closed(
        self, ebs: Any, ec2_server: EmbeddedEC2, take: Any
    ) -> None:
        one, other = take(), take()
        ec2_server.fault(kind="close_after", match={"SnapshotId": other})
        assert ebs.list_snapshot_blocks(SnapshotId=one)["Blocks"]
        with pytest.raises(ConnectionClosedError):
            ebs.list_snapshot_blocks(SnapshotId=other)
        assert [call["carried_out"] for call in ec2_server.calls("ListSnapshotBlocks")] == [True, True]

    def test_boto3_tries_again_when_it_is_throttled(self, ec2_server: EmbeddedEC2, take: Any) -> None:
        snapshot_id = take()
        ec2_server.fault(action="ListSnapshotBlocks", kind="error", code="RequestLimitExceeded")
        retrying = boto3.client(
            "ebs",
            region_name="us-east-1",
            endpoint_url=ec2_server.endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        assert retrying.list_snapshot_blocks(SnapshotId=snapshot_id)["Blocks"]

    def test_what_writes_snapshots_is_refused_by_name(self, ebs: Any, ec2: Any, ec2_server: EmbeddedEC2) -> None:
        with pytest.raises(ClientError, match=r"NotImplemented.*writes none"):
            ebs.start_snapshot(VolumeSize=1)
        assert [call["code"] for call in ec2_server.calls()] == ["NotImplemented"]
        assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
