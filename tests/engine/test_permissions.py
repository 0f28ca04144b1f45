"""The README's policy is what snapset calls: no less, and no more."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from support.project import REPOSITORY, Project

if TYPE_CHECKING:
    from snapset.demo.ec2.client import EmbeddedEC2

README = (REPOSITORY / "README.md").read_text()
TABLE = dict(re.findall(r"^\| `ec2:(\w+)` \| (.+) \|$", README, re.MULTILINE))
ALWAYS = {action for action, use in TABLE.items() if not use.startswith("only with")}


def granted() -> set[str]:
    [policy] = [json.loads(text) for text in re.findall(r"```json\n(\{\n  \"Version\".*?)```", README, re.DOTALL)]
    return {action.removeprefix("ec2:") for each in policy["Statement"] for action in each["Action"]}


def called(ec2: EmbeddedEC2) -> set[str]:
    return {each["action"] for each in ec2.calls()}


def whole_life(project: Project) -> None:
    project.up().ok()
    project.up().ok()
    project.config["triggers"] = "again"
    project.up().ok()
    project.refresh().ok()
    project.destroy().ok()


def test_the_readmes_policy_grants_what_the_readmes_table_needs() -> None:
    assert granted() == ALWAYS
    assert TABLE.keys() - ALWAYS == {"DescribeAvailabilityZones", "DeleteSnapshot"}


def test_taking_sets_calls_what_the_policy_grants_and_nothing_else(project: Project, ec2: EmbeddedEC2) -> None:
    project.config = {"instanceId": ec2.launch([(20, "/dev/sdf", {})]).instance_id}
    ec2.clear_calls()
    whole_life(project)
    assert called(ec2) == ALWAYS


def test_deleting_sets_calls_delete_snapshot_beside(project: Project, ec2: EmbeddedEC2) -> None:
    project.config = {"instanceId": ec2.launch().instance_id, "onDelete": "delete", "keepLast": 1}
    ec2.clear_calls()
    whole_life(project)
    assert called(ec2) == ALWAYS | {"DeleteSnapshot"}


def test_a_location_calls_describe_availability_zones_beside(project: Project, ec2: EmbeddedEC2) -> None:
    instance = ec2.launch(zone="us-west-2-lax-1a", region="us-west-2")
    project.config = {"instanceId": instance.instance_id, "location": "local", "aws:region": "us-west-2"}
    ec2.clear_calls()
    whole_life(project)
    assert called(ec2) == ALWAYS | {"DescribeAvailabilityZones"}


def test_every_permission_that_an_error_asks_for_is_in_the_table() -> None:
    source = (REPOSITORY / "components/snapset/ec2.py").read_text()
    needed = {
        action
        for text in re.findall(r"needs\s*=\s*\"([^\"]+)\"", source)
        for action in re.findall(r"ec2:(\w+)", text)
    }
    assert needed == TABLE.keys()
