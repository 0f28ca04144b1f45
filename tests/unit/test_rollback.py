"""What a rollback reads from the instance's tag, which anyone can write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Instance
from snapset.cli.output import print_rollback
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.restore.rollback_plan import RollbackInputs, plan_rollback
from snapset.sets.journal import JOURNAL
from snapset.sets.model import SnapshotSet

ID, OTHER = "rb-0123456789abcdef0", "set-00000000000000000"


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", f"{ID} {OTHER} running", f"{ID} {OTHER} paused 2026-11-26T15:00:00Z"),
        *(f"{ID} {OTHER} running 2026-13-26T15:00:00Z", f"{ID} {OTHER} running 2026-11-26T15:00:00Z\n"),
    ],
)
def test_what_snapset_did_not_write_is_passed_over(
    aws: Ec2, ec2: EmbeddedEC2, claimed: SnapshotSet, instance: LaunchedInstance, text: str
) -> None:
    ec2.ec2().create_tags(Resources=[instance.instance_id], Tags=[{"Key": JOURNAL, "Value": text}])
    plan = plan_rollback(aws, RollbackInputs(instance_id=instance.instance_id))
    assert (plan.found.set_id, bool(plan.begun), plan.was_running) == (claimed.set_id, False, True)
    assert plan.rollback_id != ID


@pytest.mark.parametrize(("word", "was_running"), [("running", True), ("stopped", False)])
def test_the_power_state_before_is_remembered_unless_somebody_has_started_the_instance(
    aws: Ec2, ec2: EmbeddedEC2, claimed: SnapshotSet, instance: LaunchedInstance, word: str, was_running: bool
) -> None:
    client, text = ec2.ec2(), f"{ID} {claimed.set_id} {word} 2026-11-26T15:00:00Z"
    client.create_tags(Resources=[instance.instance_id], Tags=[{"Key": JOURNAL, "Value": text}])
    client.stop_instances(InstanceIds=[instance.instance_id])
    inputs = RollbackInputs(instance_id=instance.instance_id, set_id=claimed.set_id)
    plan = plan_rollback(aws, inputs)
    assert (bool(plan.begun), plan.was_running, plan.rollback_id) == (True, was_running, ID)
    client.start_instances(InstanceIds=[instance.instance_id])
    assert plan_rollback(aws, inputs).was_running


class HibernatedEc2(Ec2):
    """An EC2 whose instances are hibernated."""

    def describe_instances(self, instance_ids: Sequence[str]) -> dict[str, Instance]:
        reason = "Client.UserInitiatedHibernate: User initiated hibernate"
        found = super().describe_instances(instance_ids)
        return {key: replace(one, state="stopped", state_reason=reason) for key, one in found.items()}


def test_a_hibernated_instance_never_goes_on_with_its_memory_on_other_volumes(
    aws: Ec2, claimed: SnapshotSet, capsys: pytest.CaptureFixture[str]
) -> None:
    hibernated, inputs = HibernatedEc2(aws.settings, aws.limits), RollbackInputs(instance_id=claimed.instance_id)
    plan = plan_rollback(hibernated, inputs)
    print_rollback(plan.record(), plan, is_done=False)
    assert f"{claimed.instance_id} is hibernated: what is in its memory is lost" in capsys.readouterr().out
    with pytest.raises(errors.InputError, match="it is hibernated, and its memory fits only the volumes of now"):
        plan_rollback(hibernated, replace(inputs, exclude_boot_volume=True))


@pytest.mark.parametrize(
    ("hours", "named", "resume", "is_asked"),
    [
        *((0.9, False, None, False), (1.1, False, None, True), (23, True, None, False), (25, True, None, True)),
        *((25, True, True, False), (25, True, False, False)),
    ],
)
def test_a_rollback_of_long_ago_is_asked_about(
    aws: Ec2,
    ec2: EmbeddedEC2,
    claimed: SnapshotSet,
    instance: LaunchedInstance,
    hours: float,
    named: bool,
    resume: bool | None,
    is_asked: bool,
) -> None:
    begun = datetime.now(timezone.utc) - timedelta(hours=hours)
    text = f"{ID} {claimed.set_id} stopped {begun:%Y-%m-%dT%H:%M:%SZ}"
    ec2.ec2().create_tags(Resources=[instance.instance_id], Tags=[{"Key": JOURNAL, "Value": text}])
    set_id = claimed.set_id if named else None
    plan = plan_rollback(aws, RollbackInputs(instance_id=instance.instance_id, set_id=set_id, resume=resume))
    assert (bool(plan.doubt), bool(plan.begun)) == (is_asked, resume is not False)
