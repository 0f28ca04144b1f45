"""DescribeSnapshots: owners, ids, filters, wildcards, pages, and snapshots that are not visible yet."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from snapset.emulator.client import EmbeddedEC2

OWN_ACCOUNT = "123456789012"
OTHER_ACCOUNT = "210987654321"
UNKNOWN = "snap-0123456789abcdef0"


def tags(**values: Any) -> Any:
    return [{"ResourceType": "snapshot", "Tags": [{"Key": key, "Value": value} for key, value in values.items()]}]


@pytest.fixture
def volume_id(ec2_server: EmbeddedEC2) -> Any:
    return ec2_server.launch(root_size=10).root_volume_id


@pytest.fixture
def snapshot(ec2: Any, volume_id: str) -> Any:
    """Make one snapshot and return its id."""

    def make(description: str = "", volume: str = volume_id, **values: Any) -> Any:
        specification = {"TagSpecifications": tags(**values)} if values else {}
        return ec2.create_snapshot(VolumeId=volume, Description=description, **specification)["SnapshotId"]

    return make


@pytest.fixture
def found(ec2: Any) -> Any:
    """The ids that DescribeSnapshots returns."""

    def describe(*filters: Any, **parameters: Any) -> Any:
        if filters:
            parameters["Filters"] = [{"Name": name, "Values": list(values)} for name, *values in filters]
        return [item["SnapshotId"] for item in ec2.describe_snapshots(**parameters)["Snapshots"]]

    return describe


class TestOwners:
    def test_self_means_the_own_account(self, snapshot: Any, found: Any) -> None:
        mine = snapshot()
        assert found(OwnerIds=["self"]) == found(OwnerIds=[OWN_ACCOUNT]) == found() == [mine]

    @pytest.mark.parametrize("owners", [[OTHER_ACCOUNT], ["amazon"]])
    def test_other_owners_do_not_match(self, snapshot: Any, found: Any, owners: Any) -> None:
        mine = snapshot()
        assert found(OwnerIds=owners) == []
        assert found(OwnerIds=[*owners, "self"]) == [mine]

    def test_an_invalid_account_id_is_refused(self, found: Any, refused: Any) -> None:
        with refused("InvalidUserID.Malformed", "me"):
            found(OwnerIds=["me"])

    def test_another_account_does_not_see_it(self, ec2_server: EmbeddedEC2, snapshot: Any) -> None:
        snapshot()
        sts = boto3.client(
            "sts",
            region_name="us-east-1",
            endpoint_url=ec2_server.endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        role = sts.assume_role(RoleArn=f"arn:aws:iam::{OTHER_ACCOUNT}:role/backup", RoleSessionName="test")
        other = boto3.client(
            "ec2",
            region_name="us-east-1",
            endpoint_url=ec2_server.endpoint,
            aws_access_key_id=role["Credentials"]["AccessKeyId"],
            aws_secret_access_key=role["Credentials"]["SecretAccessKey"],
            aws_session_token=role["Credentials"]["SessionToken"],
        )
        assert other.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []

    def test_another_region_does_not_see_it(self, ec2_server: EmbeddedEC2, snapshot: Any) -> None:
        snapshot()
        assert ec2_server.ec2(region="eu-west-1").describe_snapshots(OwnerIds=["self"])["Snapshots"] == []

    def test_restorable_by_follows_the_permissions_of_a_snapshot(self, ec2: Any, snapshot: Any, found: Any) -> None:
        mine, shared, public = snapshot(), snapshot(), snapshot()
        ec2.modify_snapshot_attribute(SnapshotId=shared, OperationType="add", UserIds=[OTHER_ACCOUNT])
        ec2.modify_snapshot_attribute(SnapshotId=public, OperationType="add", GroupNames=["all"])
        assert found(RestorableByUserIds=["self"]) == [mine, shared, public]
        assert found(RestorableByUserIds=[OTHER_ACCOUNT]) == [shared]
        assert found(RestorableByUserIds=["all"]) == [public]


class TestIds:
    def test_only_the_named_snapshots_are_returned(self, snapshot: Any, found: Any) -> None:
        first, _, third = snapshot(), snapshot(), snapshot()
        assert found(SnapshotIds=[third, first, third]) == [third, first]

    @pytest.mark.parametrize("malformed", ["snap-1", "vol-0123456789abcdef0", "snap-0123456789abcdefg", "snap"])
    def test_malformed_ids_are_refused(self, found: Any, refused: Any, malformed: Any) -> None:
        with refused("InvalidSnapshotID.Malformed", malformed):
            found(SnapshotIds=[malformed])

    def test_the_error_names_the_unknown_id(self, snapshot: Any, found: Any, refused: Any) -> None:
        with refused("InvalidSnapshot.NotFound", UNKNOWN):
            found(SnapshotIds=[snapshot(), UNKNOWN])

    def test_a_deleted_snapshot_is_unknown(self, ec2: Any, snapshot: Any, found: Any, refused: Any) -> None:
        gone = snapshot()
        ec2.delete_snapshot(SnapshotId=gone)
        with refused("InvalidSnapshot.NotFound", gone):
            found(SnapshotIds=[gone])


class TestFilters:
    @pytest.fixture
    def three(self, snapshot: Any) -> Any:
        return [snapshot("one", team="web", stage="prod"), snapshot("two", team="db"), snapshot("2*?", other="web")]

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ([("tag:team", "web")], [0]),
            ([("tag:team", "web", "db")], [0, 1]),
            ([("tag:team", "*")], [0, 1]),
            ([("tag:team", "WEB")], []),
            ([("tag:stage", "p?od")], [0]),
            ([("tag:stage", "p?d")], []),
            ([("tag:team", "")], []),
            ([("tag-key", "team")], [0, 1]),
            ([("tag-key", "t*", "other")], [0, 1, 2]),
            ([("tag:team", "web"), ("tag:stage", "prod")], [0]),
            ([("tag:team", "db"), ("tag:stage", "prod")], []),
            ([("description", "one")], [0]),
            ([("description", "t*")], [1]),
            ([("description", r"2\*\?")], [2]),
            ([("description", r"2\**")], [2]),
            ([("description", r"o\*")], []),
            ([("status", "completed")], [0, 1, 2]),
            ([("status", "pending", "error")], []),
            ([("progress", "100%")], [0, 1, 2]),
            ([("encrypted", "false")], [0, 1, 2]),
            ([("encrypted", "true")], []),
            ([("owner-id", OWN_ACCOUNT)], [0, 1, 2]),
            ([("owner-alias", "amazon")], []),
            ([("storage-tier", "standard")], [0, 1, 2]),
            ([("volume-size", "10")], [0, 1, 2]),
            ([("volume-size", "8")], []),
            ([("start-time", "20*T*Z")], [0, 1, 2]),
            ([("start-time", "1999*")], []),
        ],
    )
    def test_only_snapshots_that_match_every_filter_are_returned(
        self, three: Any, found: Any, filters: Any, expected: Any
    ) -> None:
        assert found(*filters) == [three[index] for index in expected]

    def test_filters_match_volume_and_snapshot_ids(self, three: Any, found: Any, volume_id: str) -> None:
        assert found(("volume-id", volume_id)) == three
        assert found(("snapshot-id", three[1])) == [three[1]]
        assert found(("volume-id", "vol-0123456789abcdef0")) == []

    def test_a_filter_matches_the_exact_start_time(self, ec2: Any, three: Any, found: Any) -> None:
        (described,) = ec2.describe_snapshots(SnapshotIds=three[:1])["Snapshots"]
        assert three[0] in found(("start-time", f"{described['StartTime']:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"))

    def test_filters_apply_to_named_ids_and_owners_too(self, three: Any, found: Any) -> None:
        assert found(("tag:team", "db"), SnapshotIds=three) == [three[1]]
        assert found(("tag:team", "db"), OwnerIds=[OTHER_ACCOUNT]) == []

    def test_filters_use_the_current_tags(self, ec2: Any, three: Any, found: Any) -> None:
        ec2.create_tags(Resources=[three[2]], Tags=[{"Key": "team", "Value": "ops"}])
        ec2.delete_tags(Resources=[three[0]], Tags=[{"Key": "team"}])
        assert found(("tag-key", "team")) == three[1:]

    @pytest.mark.parametrize("name", ["team", "tag-value", "state", "Status"])
    def test_an_unknown_filter_is_refused(self, found: Any, refused: Any, name: str) -> None:
        with refused("InvalidParameterValue", f"'{name}'"):
            found((name, "x"))


class TestPages:
    @pytest.fixture
    def twelve(self, snapshot: Any) -> Any:
        return [snapshot(str(number), odd=str(number % 2)) for number in range(12)]

    def test_without_a_size_everything_is_in_one_answer(self, twelve: Any, ec2: Any) -> None:
        answer = ec2.describe_snapshots(OwnerIds=["self"])
        assert len(answer["Snapshots"]) == 12
        assert "NextToken" not in answer

    @pytest.mark.parametrize(("size", "sizes"), [(5, [5, 5, 2]), (6, [6, 6]), (12, [12]), (1000, [12]), (5000, [12])])
    def test_the_pages_together_have_every_snapshot_once(self, twelve: Any, ec2: Any, size: int, sizes: Any) -> None:
        pages: list[Any] = []
        token: dict[str, str] = {}
        while True:
            answer = ec2.describe_snapshots(OwnerIds=["self"], MaxResults=size, **token)
            pages.append([item["SnapshotId"] for item in answer["Snapshots"]])
            if "NextToken" not in answer:
                break
            token = {"NextToken": answer["NextToken"]}
        assert [len(page) for page in pages] == sizes
        assert [snapshot_id for page in pages for snapshot_id in page] == twelve

    def test_a_page_before_the_last_can_be_empty(self, twelve: Any, ec2: Any) -> None:
        filters = [{"Name": "snapshot-id", "Values": twelve[-1:]}]
        first = ec2.describe_snapshots(OwnerIds=["self"], MaxResults=5, Filters=filters)
        assert first["Snapshots"] == []
        pages = ec2.get_paginator("describe_snapshots").paginate(
            OwnerIds=["self"], Filters=filters, PaginationConfig={"PageSize": 5}
        )
        assert [item["SnapshotId"] for page in pages for item in page["Snapshots"]] == twelve[-1:]

    def test_the_next_page_is_right_after_snapshots_were_deleted(self, twelve: Any, ec2: Any) -> None:
        first = ec2.describe_snapshots(MaxResults=5)
        for snapshot_id in twelve[3:6]:
            ec2.delete_snapshot(SnapshotId=snapshot_id)
        second = ec2.describe_snapshots(MaxResults=5, NextToken=first["NextToken"])
        assert [item["SnapshotId"] for item in second["Snapshots"]] == twelve[6:11]

    @pytest.mark.parametrize("size", [1, 4])
    def test_a_page_size_below_five_is_refused(self, ec2: Any, refused: Any, size: int) -> None:
        with refused("InvalidParameterValue", str(size)):
            ec2.describe_snapshots(MaxResults=size)

    def test_a_page_size_with_ids_is_refused(self, twelve: Any, ec2: Any, refused: Any) -> None:
        with refused("InvalidParameterCombination", "maxResults"):
            ec2.describe_snapshots(SnapshotIds=twelve[:1], MaxResults=5)

    @pytest.mark.parametrize("token", ["nonsense", "YWZ0ZXI6eA=="])
    def test_an_invalid_token_is_refused(self, ec2: Any, refused: Any, token: Any) -> None:
        with refused("InvalidPaginationToken"):
            ec2.describe_snapshots(MaxResults=5, NextToken=token)


class TestVisibility:
    def test_a_snapshot_that_is_not_visible_yet_is_not_found(
        self, ec2_server: EmbeddedEC2, snapshot: Any, found: Any, refused: Any
    ) -> None:
        old = snapshot(team="web")
        ec2_server.settings(visibility_seconds=3600)
        young = snapshot(team="web")
        assert found(("tag:team", "web")) == []
        with refused("InvalidSnapshot.NotFound", young):
            found(SnapshotIds=[young])
        ec2_server.settings(visibility_seconds=0)
        assert found(("tag:team", "web")) == [old, young]

    def test_a_snapshot_becomes_visible_after_the_set_time(
        self, ec2_server: EmbeddedEC2, snapshot: Any, found: Any, eventually: Any
    ) -> None:
        ec2_server.settings(visibility_seconds=2)
        young = snapshot()
        assert found(OwnerIds=["self"]) == []
        eventually(lambda: found(OwnerIds=["self"]), lambda now: now == [young])
        assert found(SnapshotIds=[young]) == [young]


def test_a_dry_run_answers_dry_run_operation(ec2: Any, refused: Any) -> None:
    with refused("DryRunOperation", status=412):
        ec2.describe_snapshots(DryRun=True)
