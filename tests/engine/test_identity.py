"""Each resource has its own set, whatever it is called; and what it holds was seen in EC2."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support import aws_plugin
from support.project import Project, until
from support.sets import find_sets

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

pytestmark = pytest.mark.long

TWO_TYPES = """
import pulumi
from snapset import InstanceSnapshots

config = pulumi.Config()


class Shop(pulumi.ComponentResource):
    def __init__(self, kind, opts=None):
        super().__init__(f"my:index:{kind}", kind.lower(), {}, opts)
        InstanceSnapshots(
            "backup", instance=config.require("instance"), opts=pulumi.ResourceOptions(parent=self)
        )


shop = Shop("Shop")
Shop("Bank", pulumi.ResourceOptions(depends_on=[shop]))
"""

OWN = """
import pulumi
from snapset import InstanceSnapshots

backup = InstanceSnapshots("backup", instance=pulumi.Config().require("instance"))
pulumi.export("setId", backup.set_id)
"""


@pytest.fixture
def instance(ec2: EmbeddedEC2) -> LaunchedInstance:
    return ec2.launch([(20, "/dev/sdf", {"Name": "data"})])


@pytest.fixture
def closed_port() -> int:
    """A port of the loopback at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port


def set_ids(project: Project) -> list[str]:
    return [resource["id"] for resource in project.sets()]


def test_one_name_under_two_types_is_two_sets(
    program: Callable[[str], Project], ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    project = program(TWO_TYPES)
    project.config = {"instance": instance.instance_id}
    project.up().ok()
    taken = find_sets(ec2)
    assert sorted(set_ids(project)) == sorted(taken)
    assert len(taken) == len({found.token for found in taken.values()}) == 2
    assert {resource["outputs"]["claim"] for resource in project.sets()} == {
        claim for found in taken.values() for claim in found.claims
    }


def test_of_two_backends_with_the_same_names_each_gets_its_own_set(
    ec2: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path
) -> None:
    projects = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        projects.append(Project(tmp_path / name, environment=ec2.environment(), program=OWN))
        projects[-1].config = {"instance": instance.instance_id}
        projects[-1].env["SNAPSET_CONSISTENCY_SECONDS"] = "1"
    first, second = projects
    # The first one's claim is late, so that the second adopts its set.
    ec2.fault(action="CreateTags", kind="delay", seconds=5, times=1)
    with first.start("up", "--yes", "--skip-preview") as running:
        until(lambda: any(call["status"] for call in ec2.calls("CreateSnapshots")))
        second.up()
        running.communicate(timeout=60)
    assert set_ids(first) == set_ids(second)
    shared = set_ids(first)
    assert f"{shared[0]}: another resource has claimed this set, too: a new one" in second.up().ok().text
    assert set_ids(first) == shared != set_ids(second)
    assert set(find_sets(ec2)) == {*shared, *set_ids(second)}


def test_a_set_that_is_gone_fails_up_and_refresh_and_up_take_a_new_one(
    program: Callable[[str], Project], ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    project = program(OWN)
    project.config = {"instance": instance.instance_id}
    project.env["SNAPSET_CONSISTENCY_SECONDS"] = "1"
    project.up().ok()
    [old] = set_ids(project)
    for snapshot_id in find_sets(ec2)[old].ids:
        ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
    lost = project.up().failed()
    assert f"SetFailedError: waiting for {old}: " in lost.text
    assert "There is no backup: take a new set; in a stack, with `pulumi refresh`" in lost.text
    project.refresh().ok()
    project.up().ok()
    assert set_ids(project) != [old]


def test_without_an_answer_of_ec2_an_up_with_nothing_to_do_fails_soon_and_calls_nothing_gone(
    program: Callable[[str], Project], ec2: EmbeddedEC2, instance: LaunchedInstance, closed_port: int
) -> None:
    project = program(OWN)
    project.config = {"instance": instance.instance_id}
    project.up().ok()
    ec2.age([key for found in find_sets(ec2).values() for key in found.ids], seconds=3600)
    project.env["AWS_ENDPOINT_URL_EC2"] = f"http://127.0.0.1:{closed_port}"
    away = project.up().failed()
    assert "UnreachableError" in away.text
    assert "no longer" not in away.text


@pytest.mark.parametrize("stack", ["app_server", "guarded_server"])
def test_an_attachment_of_a_stack_can_be_replaced(project: Project, stack: str) -> None:
    aws_plugin.install(project.env)
    project.config = {"program": stack}
    project.up().ok()
    resources = project.state()["deployment"]["resources"]
    urns = [resource["urn"] for resource in resources if resource["type"].endswith(":VolumeAttachment")]
    assert urns
    project.up(*(word for urn in urns for word in ("--replace", urn))).ok()
