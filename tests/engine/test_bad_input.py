"""Bad input fails the check, at preview also what does not fit EC2. The error names the property, nothing is made.

Every rule has its case in tests/unit: test_set_inputs.py, test_preflight.py and test_snapshot_set.py.
"""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING

import pytest
from snapset.aws.ec2 import connect
from snapset.aws.settings import AwsSettings
from snapset.errors import UnreachableError
from support.project import Project, mutating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance


@pytest.fixture
def instance(ec2: EmbeddedEC2) -> LaunchedInstance:
    return ec2.launch([(20, "/dev/sdf", {})])


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
