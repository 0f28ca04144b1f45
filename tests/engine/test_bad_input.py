"""Bad input fails the check, at preview also what does not fit EC2. The error names the property, nothing is made."""

from __future__ import annotations

import re
import socket
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from snapset.aws.ec2 import connect
from snapset.aws.settings import AwsSettings
from snapset.errors import UnreachableError
from snapset.resources.snapshot_set import SnapshotSetProvider
from support.project import Project, mutating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
OTHER_OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0fedcba9876543210"

Inputs = dict[str, Any]

# By case: the inputs, the property that the error names, a part of the error. Names in braces are the instance's ids.
REFUSED: dict[str, tuple[Inputs, str, str]] = {
    "a malformed instance id": ({"instance_id": "i-123"}, "instance_id", "'i-123' is not an instance id"),
    "an unknown instance": (
        {"instance_id": "i-0123456789abcdef0"},
        "instance_id",
        "there is no such instance in us-east-1",
    ),
    "a malformed volume id": (
        {"exclude_data_volume_ids": ["vol-1"]},
        "exclude_data_volume_ids",
        "'vol-1' is not a volume",
    ),
    "the root volume": ({"exclude_data_volume_ids": ["{root}"]}, "exclude_data_volume_ids", "is the root volume of"),
    "a volume that is not attached": (
        {"exclude_data_volume_ids": ["vol-0123456789abcdef0"]},
        "exclude_data_volume_ids",
        "is not attached",
    ),
    "a volume listed twice": (
        {"exclude_data_volume_ids": ["{data}"] * 2},
        "exclude_data_volume_ids",
        "is listed twice",
    ),
    "more than 40 exclusions": (
        {"exclude_data_volume_ids": [f"vol-{number:017x}" for number in range(41)]},
        "exclude_data_volume_ids",
        "41 exclusions are too many",
    ),
    "nothing left to snapshot": (
        {"exclude_data_volume_ids": ["{data}"], "exclude_boot_volume": True},
        "exclude_data_volume_ids",
        "nothing is left to snapshot",
    ),
    "too many tags with snapset's own": (
        {"tags": {f"tag{number}": "x" for number in range(26)}},
        "tags",
        "26 tags are too many",
    ),
    "an aws: key": ({"tags": {"aws:x": "y"}}, "tags", "reserved by AWS"),
    "a snapset: key": ({"tags": {"snapset:set": "y"}}, "tags", "snapset's own"),
    "an over-long key": ({"tags": {"k" * 129: "y"}}, "tags", "has 129 characters"),
    "an over-long value": ({"tags": {"k": "v" * 257}}, "tags", "has 257 characters"),
    "an over-long description": ({"description": "d" * 256}, "description", "has 256 characters"),
    "a malformed Outpost ARN": ({"outpost_arn": "op-1"}, "outpost_arn", "'op-1' is not an Outpost ARN"),
    "an Outpost that the instance is not on": ({"outpost_arn": OUTPOST}, "outpost_arn", "is not on an Outpost"),
    "a location outside a Local Zone": ({"location": "local"}, "location", "is not a Local Zone"),
    "an unknown location": ({"location": "moon"}, "location", "'moon' is not one of regional, local"),
    "Outpost and location": ({"outpost_arn": OUTPOST, "location": "local"}, "location", "give one of the two"),
    "a malformed Region": ({"region": "nowhere"}, "region", "'nowhere' is not a Region"),
}


@pytest.fixture
def instance(ec2: EmbeddedEC2) -> LaunchedInstance:
    return ec2.launch([(20, "/dev/sdf", {})])


def filled(value: Any, instance: LaunchedInstance) -> Any:
    if isinstance(value, str):
        return value.replace("{root}", instance.root_volume_id).replace("{data}", instance.volume_ids["/dev/sdf"])
    return [filled(item, instance) for item in value] if isinstance(value, list) else value


@pytest.fixture
def provider(ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> SnapshotSetProvider:
    """The provider as the engine configures it, in this process."""
    for name, value in {**ec2.environment(), "SNAPSET_DEBUG": "1"}.items():
        monkeypatch.setenv(name, value)
    made = SnapshotSetProvider()
    made.configure(SimpleNamespace(config=SimpleNamespace(get=lambda _: None)))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_the_propertys_name(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, instance: LaunchedInstance, case: str
) -> None:
    inputs, name, expected = REFUSED[case]
    given = {"instance_id": instance.instance_id} | {key: filled(value, instance) for key, value in inputs.items()}
    ec2.clear_calls()
    failures = provider.check({}, {**given, "is_preview": True}).failures
    assert failures
    assert (failures[0].property, expected in failures[0].reason) == (name, True), failures[0].reason
    assert mutating(ec2.calls()) == []


def test_a_terminated_instance_is_refused(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.ec2().terminate_instances(InstanceIds=[instance.instance_id])
    [failure] = provider.check({}, {"instance_id": instance.instance_id, "is_preview": True}).failures
    assert f"{instance.instance_id} is terminated" in failure.reason


def test_another_outpost_than_the_instances_own_is_refused(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.place(instance.instance_id, outpost_arn=OUTPOST)
    given = {"instance_id": instance.instance_id, "outpost_arn": OTHER_OUTPOST, "is_preview": True}
    [failure] = provider.check({}, given).failures
    assert f"is on {OUTPOST}" in failure.reason


def test_a_preview_asks_ec2_and_shows_the_property_and_up_asks_nothing_before_the_call(
    project: Project, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    unknown = "i-0123456789abcdef0"
    project.config = {"instanceId": unknown}
    ec2.clear_calls()
    refused = project.preview().failed()
    assert re.search(r"property instance_id value .* has a problem: there is no such instance", refused.text)
    refused = project.up().failed()
    assert f"NotFoundError: creating snapshots of {unknown}: InvalidInstanceID.NotFound: " in refused.text
    assert mutating(ec2.calls()) == []
    # What needs no look is refused in any run.
    project.config = {"instanceId": instance.instance_id, "tags": {"aws:x": "y"}}
    ec2.clear_calls()
    assert re.search(r"property tags value .* has a problem: .*reserved by AWS", project.up().failed().text)
    assert ec2.calls() == []


def test_a_missing_permission_is_found_at_preview(
    project: Project, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.fault(action="CreateSnapshots", kind="deny")
    project.config = {"instanceId": instance.instance_id}
    refused = project.preview().failed()
    assert "UnauthorizedOperation" in refused.text
    assert "Allow ec2:CreateSnapshots and ec2:CreateTags." in refused.text


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "no AWS credentials were found"),
        (("AWS_REGION", "AWS_DEFAULT_REGION"), "no Region is set"),
    ],
)
def test_missing_settings_are_reported(
    project: Project, instance: LaunchedInstance, missing: tuple[str, ...], expected: str
) -> None:
    for name in missing:
        del project.env[name]
    project.config = {"instanceId": instance.instance_id}
    assert expected in project.preview().failed().text


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """An endpoint where connecting never succeeds: nothing accepts connections, and the queue is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        queued = [socket.socket() for _ in range(4)]
        for connection in queued:
            connection.setblocking(False)
            connection.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        for connection in queued:
            connection.close()


def test_an_endpoint_that_does_not_answer_fails_within_15_seconds(
    project: Project, instance: LaunchedInstance, silent_endpoint: str
) -> None:
    project.env["AWS_ENDPOINT_URL_EC2"] = silent_endpoint
    project.config = {"instanceId": instance.instance_id}
    assert silent_endpoint in project.preview().failed().text
    # Measured without the engine, whose start and end take long on a busy machine.
    settings = AwsSettings(region="us-east-1", endpoint_url=silent_endpoint, access_key="x", secret_key="x")
    began = time.monotonic()
    with pytest.raises(UnreachableError):
        connect(settings).describe_instance(instance.instance_id)
    assert time.monotonic() - began < 15


def test_a_preview_accepts_values_that_are_not_known_yet(
    program: Callable[[str], Project], ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    theirs = program(f"""
import pulumi
from pulumi.dynamic import CreateResult, Resource, ResourceProvider
from snapset import InstanceSnapshots

class Later(ResourceProvider):
    def create(self, props):
        return CreateResult("later", {{"value": "{instance.instance_id}"}})

class Value(Resource):
    value: pulumi.Output[str]

later = Value(Later(), "later", {{"value": None}})
backup = InstanceSnapshots("backup", instance=later.value, tags={{"of": later.value}})
pulumi.export("setId", backup.set_id)
""")
    ec2.clear_calls()
    theirs.preview().ok()
    assert ec2.calls() == []
    theirs.up().ok()
    assert len(theirs.sets()) == 1


def test_an_invalid_timeout_is_reported_without_a_traceback(project: Project, instance: LaunchedInstance) -> None:
    project.config = {"instanceId": instance.instance_id, "waitTimeout": "soon"}
    refused = project.preview().failed()
    assert "InputError: reading InstanceSnapshots backup: wait_timeout: 'soon' is not a duration" in refused.text
    assert "Traceback" not in refused.text
