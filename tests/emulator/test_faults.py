"""Scripted faults, as a real boto3 client sees them."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from snapset.emulator.client import EmbeddedEC2, EmbeddedEC2Error, LaunchedInstance
from snapset.emulator.faults import KINDS, Fault, Script, read_fault


@pytest.fixture
def instance(ec2_server: EmbeddedEC2) -> LaunchedInstance:
    return ec2_server.launch()


@pytest.fixture
def request_of(instance: LaunchedInstance) -> Any:
    return {"InstanceSpecification": {"InstanceId": instance.instance_id}}


@pytest.fixture
def sets(ec2: Any) -> Any:
    """Count the sets: the instance has one volume, so each snapshot is a set."""
    return lambda: len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])


class TestErrors:
    @pytest.mark.parametrize(
        ("script", "code", "status"),
        [
            ({}, "InternalError", 500),
            ({"code": "RequestLimitExceeded"}, "RequestLimitExceeded", 503),
            ({"code": "SnapshotCreationPerVolumeRateExceeded"}, "SnapshotCreationPerVolumeRateExceeded", 400),
            ({"code": "InternalFailure", "status": 502}, "InternalFailure", 502),
            ({"code": "Odd", "message": "<&> it's"}, "Odd", 400),
        ],
    )
    def test_an_error_replaces_the_call(
        self,
        ec2: Any,
        ec2_server: EmbeddedEC2,
        request_of: Any,
        sets: Any,
        refused: Any,
        script: Any,
        code: str,
        status: int,
    ) -> None:
        ec2_server.fault(kind="error", action="CreateSnapshots", **script)
        with refused(code, script.get("message", ""), status=status):
            ec2.create_snapshots(**request_of)
        assert sets() == 0
        ec2.create_snapshots(**request_of)
        assert sets() == 1

    def test_an_error_can_follow_the_call(
        self, ec2: Any, ec2_server: EmbeddedEC2, request_of: Any, sets: Any, refused: Any
    ) -> None:
        ec2_server.fault(kind="error_after", action="CreateSnapshots")
        with refused("InternalError", status=500):
            ec2.create_snapshots(**request_of)
        assert sets() == 1

    def test_boto3_retries_errors_by_default(
        self, ec2_server: EmbeddedEC2, retrying: Any, request_of: Any, sets: Any
    ) -> None:
        ec2_server.fault(kind="error", action="CreateSnapshots", code="RequestLimitExceeded")
        retrying.create_snapshots(**request_of)
        assert sets() == 1
        assert [call["code"] for call in ec2_server.calls("CreateSnapshots")] == ["RequestLimitExceeded", None]


class TestClosedConnections:
    def test_close_before_prevents_the_call(
        self, ec2: Any, ec2_server: EmbeddedEC2, request_of: Any, sets: Any
    ) -> None:
        ec2_server.fault(kind="close_before", action="CreateSnapshots")
        with pytest.raises(ConnectionClosedError):
            ec2.create_snapshots(**request_of)
        assert sets() == 0

    def test_close_after_loses_only_the_answer(
        self, ec2: Any, ec2_server: EmbeddedEC2, request_of: Any, sets: Any
    ) -> None:
        ec2_server.fault(kind="close_after", action="CreateSnapshots")
        with pytest.raises(ConnectionClosedError):
            ec2.create_snapshots(**request_of)
        assert sets() == 1

    def test_later_connections_are_answered(self, ec2: Any, ec2_server: EmbeddedEC2) -> None:
        ec2_server.fault(kind="close_after", action="DescribeVolumes", times=20)
        for _ in range(20):
            with pytest.raises(ConnectionClosedError):
                ec2.describe_volumes()
        assert ec2.describe_volumes()["Volumes"] == []


class TestDoubleExecution:
    """CreateSnapshots has no client token, so a retry after a lost answer makes a second set."""

    @pytest.mark.parametrize("kind", ["close_after", "error_after"])
    def test_boto3_with_its_default_retries_makes_two_sets(
        self, ec2_server: EmbeddedEC2, retrying: Any, request_of: Any, sets: Any, kind: str
    ) -> None:
        ec2_server.fault(kind=kind, action="CreateSnapshots")
        retrying.create_snapshots(**request_of)
        assert sets() == 2
        assert [call["carried_out"] for call in ec2_server.calls("CreateSnapshots")] == [True, True]

    @pytest.mark.parametrize("kind", ["close_after", "error_after"])
    def test_without_retries_there_is_one_set(
        self, ec2_server: EmbeddedEC2, ec2: Any, request_of: Any, sets: Any, kind: str
    ) -> None:
        ec2_server.fault(kind=kind, action="CreateSnapshots")
        with pytest.raises((ConnectionClosedError, ClientError)):
            ec2.create_snapshots(**request_of)
        assert sets() == 1


class TestDelays:
    def test_delay_holds_back_the_call(self, ec2_server: EmbeddedEC2, request_of: Any, sets: Any) -> None:
        ec2_server.fault(kind="delay", action="CreateSnapshots", seconds=3600)
        with pytest.raises(ReadTimeoutError):
            ec2_server.ec2(timeout=0.2).create_snapshots(**request_of)
        assert sets() == 0

    def test_delay_after_holds_back_only_the_answer(
        self, ec2_server: EmbeddedEC2, request_of: Any, sets: Any, eventually: Any
    ) -> None:
        ec2_server.fault(kind="delay_after", action="CreateSnapshots", seconds=3600)
        with pytest.raises(ReadTimeoutError):
            ec2_server.ec2(timeout=0.2).create_snapshots(**request_of)
        eventually(sets, lambda count: count == 1)

    @pytest.mark.parametrize("kind", ["delay", "delay_after"])
    def test_a_delay_lasts_as_long_as_scripted(
        self, ec2_server: EmbeddedEC2, ec2: Any, request_of: Any, kind: str
    ) -> None:
        ec2_server.fault(kind=kind, action="CreateSnapshots", seconds=0.2)
        begun = time.monotonic()
        assert len(ec2.create_snapshots(**request_of)["Snapshots"]) == 1
        assert time.monotonic() - begun >= 0.2

    def test_a_delay_does_not_hold_back_other_calls(self, ec2_server: EmbeddedEC2, ec2: Any, request_of: Any) -> None:
        ec2_server.fault(kind="delay", action="CreateSnapshots", seconds=3)
        slow = threading.Thread(target=ec2.create_snapshots, kwargs=request_of)
        slow.start()
        assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
        assert slow.is_alive()
        slow.join()


class TestDenials:
    def test_denials_last_until_they_are_cleared(
        self, ec2_server: EmbeddedEC2, ec2: Any, request_of: Any, sets: Any, refused: Any
    ) -> None:
        ec2_server.fault(kind="deny", action="CreateSnapshots")
        for _ in range(3):
            with refused("UnauthorizedOperation", "not authorized to perform", "ec2:CreateSnapshots", status=403):
                ec2.create_snapshots(**request_of)
        with refused("UnauthorizedOperation", status=403):
            ec2.create_snapshots(**request_of, DryRun=True)
        assert sets() == 0
        ec2_server.clear_faults()
        ec2.create_snapshots(**request_of)
        assert sets() == 1

    def test_denials_of_describe_actions_name_no_resource(
        self, ec2_server: EmbeddedEC2, ec2: Any, refused: Any
    ) -> None:
        ec2_server.fault(kind="deny", action="DescribeSnapshots")
        with refused("UnauthorizedOperation", "ec2:DescribeSnapshots because", status=403):
            ec2.describe_snapshots()


class TestRates:
    def test_calls_are_refused_when_the_bucket_is_empty(
        self, ec2_server: EmbeddedEC2, ec2: Any, refused: Any
    ) -> None:
        ec2_server.fault(kind="rate", action="DescribeSnapshots", bucket=2)
        for _ in range(2):
            ec2.describe_snapshots()
        for _ in range(2):
            with refused("RequestLimitExceeded", status=503):
                ec2.describe_snapshots()
        ec2.describe_volumes()

    def test_the_bucket_refills(self, ec2_server: EmbeddedEC2, ec2: Any, eventually: Any) -> None:
        ec2_server.fault(kind="rate", action="DescribeSnapshots", bucket=1, refill_per_second=5)

        def answered() -> Any:
            try:
                return ec2.describe_snapshots() is not None
            except ClientError:
                return False

        assert answered()
        assert not answered()
        eventually(answered)


class TestScripts:
    def test_a_fault_hits_as_many_calls_as_scripted(self, ec2_server: EmbeddedEC2, ec2: Any, refused: Any) -> None:
        ec2_server.fault(kind="error", action="DescribeSnapshots", times=2)
        for _ in range(2):
            with refused("InternalError", status=500):
                ec2.describe_snapshots()
        ec2.describe_snapshots()
        assert ec2_server.faults_left() == []

    def test_a_fault_can_let_calls_pass_first(self, ec2_server: EmbeddedEC2, ec2: Any, refused: Any) -> None:
        ec2_server.fault(kind="error", action="DescribeSnapshots", skip=2)
        ec2.describe_snapshots()
        ec2.describe_snapshots()
        with refused("InternalError", status=500):
            ec2.describe_snapshots()

    def test_a_fault_can_wait_for_another_call(self, ec2_server: EmbeddedEC2, ec2: Any, refused: Any) -> None:
        instance_id = ec2_server.launch().instance_id
        tag = {"Resources": [instance_id], "Tags": [{"Key": "a", "Value": "b"}]}
        ec2_server.fault(kind="error", action="DescribeVolumes", skip=1, after="CreateTags 2")
        ec2.describe_volumes()
        ec2.create_tags(**tag)
        with refused("DryRunOperation", status=412):
            ec2.create_tags(**tag, DryRun=True)
        ec2.describe_volumes()
        ec2.describe_volumes()
        ec2.create_tags(**tag)
        ec2.describe_volumes()
        with refused("InternalError", status=500):
            ec2.describe_volumes()

    def test_a_fault_comes_after_the_call_that_it_waits_for_and_not_with_it(
        self, ec2_server: EmbeddedEC2, ec2: Any, refused: Any
    ) -> None:
        ec2_server.fault(kind="error", action="DescribeVolumes", after="DescribeVolumes 1")
        ec2.describe_volumes()
        with refused("InternalError", status=500):
            ec2.describe_volumes()

    def test_a_fault_hits_only_the_action_that_it_names(
        self, ec2_server: EmbeddedEC2, ec2: Any, refused: Any
    ) -> None:
        ec2_server.fault(kind="error", action="DescribeSnapshots")
        ec2.describe_volumes()
        assert len(ec2_server.faults_left()) == 1
        ec2_server.fault(kind="error", code="ServiceUnavailable")
        with refused("ServiceUnavailable", status=503):
            ec2.describe_volumes()

    def test_a_fault_can_require_a_parameter_value(self, ec2_server: EmbeddedEC2, ec2: Any, refused: Any) -> None:
        one, other = ec2_server.launch(), ec2_server.launch()
        ec2_server.fault(kind="error", match=one.instance_id)
        ec2_server.fault(kind="error", code="Odd", match={"InstanceId.1": other.instance_id[:8]})
        with refused("Odd"):
            ec2.describe_instances(InstanceIds=[other.instance_id])
        with refused("InternalError", status=500):
            ec2.describe_instances(InstanceIds=[one.instance_id])
        assert ec2.describe_instances(InstanceIds=[one.instance_id, other.instance_id])

    def test_faults_apply_in_the_order_they_were_added(self, ec2_server: EmbeddedEC2, ec2: Any, refused: Any) -> None:
        ec2_server.fault(kind="error", code="First")
        ec2_server.fault(kind="error", code="Second")
        for code in ("First", "Second"):
            with refused(code):
                ec2.describe_volumes()
        ec2.describe_volumes()

    def test_faults_can_be_cleared(self, ec2_server: EmbeddedEC2, ec2: Any) -> None:
        ec2_server.fault(kind="error", times=None)
        (left,) = ec2_server.faults_left()
        assert (left["kind"], left["remaining"]) == ("error", None)
        ec2_server.clear_faults()
        assert ec2_server.faults_left() == []
        ec2.describe_volumes()

    @pytest.mark.parametrize(
        "script",
        [
            {"kind": "odd"},
            {},
            {"kind": "error", "when": "now"},
            {"kind": "error", "after": "CreateTags"},
            {"kind": "error", "after": "CreateTags 0"},
        ],
    )
    def test_invalid_faults_are_refused(self, ec2_server: EmbeddedEC2, script: Any) -> None:
        with pytest.raises(EmbeddedEC2Error, match="fault"):
            ec2_server.fault(**script)
        assert ec2_server.faults_left() == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_default_error_and_count(kind: str) -> None:
    fault = read_fault({"kind": kind})
    assert fault.code
    assert fault.status >= 400
    assert fault.times == (None if kind in ("deny", "rate") else 1)


def test_a_bucket_holds_no_more_than_its_size() -> None:
    now = 0.0
    script = Script(lambda: now)
    script.add(Fault("rate", bucket=2, refill_per_second=1))
    assert [script.take("A", {}) is None for _ in range(3)] == [True, True, False]
    now = 100.0
    assert [script.take("A", {}) is None for _ in range(3)] == [True, True, False]
    now = 101.0
    assert [script.take("A", {}) is None for _ in range(2)] == [True, False]
