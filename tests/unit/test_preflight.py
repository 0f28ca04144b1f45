"""What of the inputs does not fit the instance, and which of its volumes a set will hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Instance
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.sets import tags
from snapset.sets.inputs import SetInputs
from snapset.sets.journal import JOURNAL, Journal
from snapset.sets.preflight import check_against_ec2, check_instance, inspect_instances, volumes_of
from snapset.sets.take import take_set

ROOT, DATA, SCRATCH, STRANGE = (f"vol-{number:017x}" for number in range(4))
OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
OTHER_OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0fedcba9876543210"

WEB = Instance(
    instance_id="i-0123456789abcdef0",
    state="running",
    root_device_name="/dev/xvda",
    devices={SCRATCH: "/dev/sdg", DATA: "/dev/sdf", ROOT: "/dev/xvda"},
    availability_zone="us-east-1a",
    outpost_arn=None,
)
ALL = SetInputs(instance_id=WEB.instance_id, scope="o/p/s/n", region="us-east-1")

# The instance, what is asked of it, the property that is blamed, and what is said.
UNFIT: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "terminated": ({"state": "terminated"}, {}, "instance_id", "is terminated: its volumes can no longer be"),
    "shutting down": ({"state": "shutting-down"}, {}, "instance_id", "is shutting-down"),
    "root excluded as data": (
        {},
        {"exclude_data_volume_ids": (ROOT,)},
        "exclude_data_volume_ids",
        f"{ROOT} is the root volume of {WEB.instance_id}, which is left out by an option of its own",
    ),
    "not attached": (
        {},
        {"exclude_data_volume_ids": (STRANGE,)},
        "exclude_data_volume_ids",
        f"{STRANGE} is not attached to {WEB.instance_id} (attached: {SCRATCH}, {DATA}, {ROOT})",
    ),
    "all excluded": (
        {},
        {"exclude_boot_volume": True, "exclude_data_volume_ids": (DATA, SCRATCH)},
        "exclude_data_volume_ids",
        "nothing is left to snapshot",
    ),
    "only a root, excluded": (
        {"devices": {ROOT: "/dev/xvda"}},
        {"exclude_boot_volume": True},
        "exclude_boot_volume",
        "nothing is left to snapshot",
    ),
    "all left out by tags": (
        {},
        {"exclude_boot_volume": True, "exclude_data_volume_tags": {"a": "b"}, "tagged_volume_ids": (DATA, SCRATCH)},
        "exclude_data_volume_tags",
        "nothing is left to snapshot",
    ),
    "too many left out by tags": (
        {"devices": {f"vol-{number:017x}": f"/dev/{number}" for number in range(100, 142)}},
        {"tagged_volume_ids": tuple(f"vol-{number:017x}" for number in range(100, 141))},
        "exclude_data_volume_tags",
        f"41 volumes of {WEB.instance_id} would be left out; AWS takes at most 40",
    ),
    "too many tags of the instance": (
        {},
        {"tags": {"a": "1"}, "instance_tags": {f"k{number}": "" for number in range(25)}},
        "copy_tags_from_instance",
        f"with those of {WEB.instance_id}, 26 tags are too many; there is room for 25",
    ),
    "no root device": (
        {"root_device_name": None},
        {"exclude_boot_volume": True},
        "exclude_boot_volume",
        f"which volume is the root of {WEB.instance_id} is not known",
    ),
    "no volumes at all": ({"devices": {}}, {}, "exclude_boot_volume", "nothing is left to snapshot"),
    "not on an Outpost": ({}, {"outpost_arn": OUTPOST}, "outpost_arn", f"{WEB.instance_id} is not on an Outpost"),
    "on another Outpost": (
        {"outpost_arn": OTHER_OUTPOST},
        {"outpost_arn": OUTPOST},
        "outpost_arn",
        f"is on {OTHER_OUTPOST}; give the instance's own Outpost, or none",
    ),
}
FIT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "all volumes": ({}, {}),
    "stopped": ({"state": "stopped"}, {}),
    "stopping": ({"state": "stopping"}, {}),
    "pending": ({"state": "pending"}, {}),
    "without the root": ({}, {"exclude_boot_volume": True}),
    "without the data": ({}, {"exclude_data_volume_ids": (DATA, SCRATCH)}),
    "on its Outpost": ({"outpost_arn": OUTPOST}, {"outpost_arn": OUTPOST}),
    "from its Outpost to the Region": ({"outpost_arn": OUTPOST}, {}),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_does_not_fit_is_said_of_the_property_that_is_to_blame(case: str) -> None:
    instance, inputs, blamed, said = UNFIT[case]
    [problem] = check_instance(replace(ALL, **inputs), replace(WEB, **instance))
    assert problem.property == blamed
    assert said in problem.reason


@pytest.mark.parametrize("case", FIT)
def test_what_fits_has_no_problem(case: str) -> None:
    instance, inputs = FIT[case]
    assert check_instance(replace(ALL, **inputs), replace(WEB, **instance)) == []


def test_each_exclusion_that_does_not_fit_is_named() -> None:
    found = check_instance(replace(ALL, exclude_data_volume_ids=(ROOT, DATA, STRANGE)), WEB)
    assert [problem.reason.split()[0] for problem in found] == [ROOT, STRANGE]


@given(
    st.sets(st.sampled_from("abcdefgh"), min_size=1).map(sorted).flatmap(st.permutations),
    st.booleans(),
    st.sets(st.sampled_from("abcdefgh")),
)
def test_a_set_holds_each_volume_that_is_not_excluded_once(
    letters: list[str], exclude_boot: bool, excluded: set[str]
) -> None:
    root = letters[0]
    devices = {f"vol-{letter}": f"/dev/sd{letter}" for letter in letters}
    instance = replace(WEB, devices=devices, root_device_name=f"/dev/sd{root}")
    excluded.discard(root)
    inputs = replace(
        ALL, exclude_boot_volume=exclude_boot, exclude_data_volume_ids=tuple(f"vol-{letter}" for letter in excluded)
    )
    volumes = volumes_of(inputs, instance)
    left = set(letters) - excluded - ({root} if exclude_boot else set())
    assert set(volumes) == {f"vol-{letter}" for letter in left}
    assert all(devices[volume_id] == device for volume_id, device in volumes.items())


def test_an_instance_whose_root_is_detached_is_snapshotted_without_it() -> None:
    detached = replace(WEB, devices={DATA: "/dev/sdf"})
    for inputs in (ALL, replace(ALL, exclude_boot_volume=True)):
        assert check_instance(inputs, detached) == []
        assert list(volumes_of(inputs, detached)) == [DATA]


def test_what_the_preflight_lets_pass_ec2_takes(aws: Ec2, inputs: SetInputs, instance: LaunchedInstance) -> None:
    inputs = replace(inputs, exclude_data_volume_ids=(instance.volume_ids["/dev/sdf"],))
    said: list[str] = []
    assert check_against_ec2(aws.saying(said.append), inputs) == []
    assert said == []
    assert aws.find_snapshots({"tag-key": ["snapset:set"]}) == []
    taken = aws.create_snapshots(inputs.request(set_id="set-0123456789abcdef0"))
    assert {snapshot.volume_id for snapshot in taken} == volumes_of(
        inputs, aws.describe_instance(inputs.instance_id)
    ).keys()


def test_a_location_needs_a_local_zone(aws: Ec2, ec2: EmbeddedEC2) -> None:
    there = Ec2(aws.settings.in_region("us-west-2"), aws.limits)
    local = replace(ALL, instance_id=ec2.launch(zone="us-west-2-lax-1a", region="us-west-2").instance_id)
    far = replace(ALL, instance_id=ec2.launch(region="us-west-2").instance_id)
    for location in ("local", "regional"):
        assert check_against_ec2(there, replace(local, location=location)) == []
    [problem] = check_against_ec2(there, replace(far, location="local"))
    assert problem.property == "location"
    assert "which is not a Local Zone: there is no location to choose" in problem.reason


def test_no_set_is_taken_of_an_instance_whose_rollback_was_cut_off(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs
) -> None:
    """Some of its volumes may be those of the set, and others those of today; a safety set is to hold just that."""
    ec2.ec2().create_tags(Resources=[inputs.instance_id], Tags=[{"Key": JOURNAL, "Value": "x"}])
    assert check_against_ec2(aws, inputs) == []
    text = Journal(
        rollback_id="rb-" + 17 * "0", set_id="set-" + 17 * "0", was_running=True, begun="2026-11-26T15:00:00Z"
    )
    ec2.ec2().create_tags(Resources=[inputs.instance_id], Tags=[{"Key": JOURNAL, "Value": text.text()}])
    [problem] = check_against_ec2(aws, inputs)
    assert f"End it with snapset rollback {inputs.instance_id}" in problem.reason
    with pytest.raises(errors.InputError, match=r"a rollback to set-0+ that began at 2026-11-26T15:00:00Z was not"):
        take_set(aws, inputs)
    assert take_set(aws, replace(inputs, scope=f"{tags.ROLLBACK_SCOPE}rb-1 {inputs.instance_id}"))


def test_without_the_permission_to_describe_the_rest_is_still_checked(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs
) -> None:
    for action in ("DescribeVolumes", "DescribeInstances"):
        ec2.fault(action=action, kind="deny")
    said: list[str] = []
    assert check_against_ec2(aws.saying(said.append), inputs) == []
    [text] = said
    assert text.startswith(f"warning: {inputs.instance_id}: the snapshots' devices are not recorded: describing ")
    assert text.endswith("Allow ec2:DescribeInstances.")
    assert [call["dry_run"] for call in ec2.calls("CreateSnapshots")] == [True]


def test_without_the_permission_to_create_nothing_passes(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> None:
    ec2.fault(action="CreateSnapshots", kind="deny")
    [problem] = check_against_ec2(aws, inputs)
    assert problem.property == "instance_id"
    assert problem.reason.startswith("NotPermittedError: dry run: creating snapshots of ")


@pytest.mark.parametrize("action", ["DescribeVolumes", "CreateSnapshots"])
@pytest.mark.parametrize("code", ["RequestLimitExceeded", "InternalError"])
def test_what_can_not_be_checked_for_now_is_said_and_is_no_problem(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, action: str, code: str
) -> None:
    ec2.fault(action=action, kind="error", code=code, times=None)
    said: list[str] = []
    assert check_against_ec2(aws.saying(said.append), inputs) == []
    [text] = said
    assert text.startswith(f"warning: {inputs.instance_id} is not checked: ")
    assert code in text


def test_an_instance_that_is_gone_is_a_problem(aws: Ec2) -> None:
    [problem] = check_against_ec2(aws, ALL)
    assert problem.property == "instance_id"
    where = "there is no such instance in us-east-1. Check the id, the Region and the account"
    assert problem.reason == where
    assert str(problem.error) == f"creating snapshots of {ALL.instance_id}: InvalidInstanceID.NotFound: {where}."


def test_volumes_that_have_one_of_the_tags_are_left_out_and_the_instances_tags_are_handed_on(
    aws: Ec2, ec2: EmbeddedEC2
) -> None:
    launched = ec2.launch(
        [(1, "/dev/sdf", {"backup": "no"}), (1, "/dev/sdg", {"backup": "yes"}), (1, "/dev/sdh", {"kind": "scratch"})],
        tags={"app": "shop", "Name": "web-1", "snapset:x": "theirs"},
    )
    # A root volume is left out by its own input only.
    ec2.ec2().create_tags(Resources=[launched.root_volume_id], Tags=[{"Key": "backup", "Value": "no"}])
    asked = SetInputs(
        instance_id=launched.instance_id,
        scope="s",
        region="us-east-1",
        exclude_data_volume_tags={"backup": "no", "kind": "scratch"},
        copy_tags_from_instance=True,
        tags={"Name": "mine"},
    )
    found = inspect_instances(aws, [asked]).ready[0]
    assert volumes_of(found, aws.describe_instance(launched.instance_id)) == {
        launched.root_volume_id: "/dev/sda1",
        launched.volume_ids["/dev/sdg"]: "/dev/sdg",
    }
    assert found.user_tags == {"app": "shop", "Name": "mine"}
    # What was looked up is no part of the intent.
    assert found.token == asked.token
    request = found.request(set_id="set-0123456789abcdef0")
    assert request["InstanceSpecification"]["ExcludeDataVolumeIds"] == sorted(
        launched.volume_ids[device] for device in ("/dev/sdf", "/dev/sdh")
    )


@pytest.mark.parametrize(("number", "fits"), [(50, False), (31, False), (30, True)])
def test_the_tags_of_a_volume_are_counted_before_they_are_copied(
    aws: Ec2, ec2: EmbeddedEC2, number: int, fits: bool
) -> None:
    instance = ec2.launch([(10, "/dev/sdf", {f"k{key}": "" for key in range(number)})])
    inputs = replace(ALL, instance_id=instance.instance_id, copy_tags_from_source="volume")
    problems = check_against_ec2(aws, inputs)
    assert [problem.property for problem in problems] == ([] if fits else ["copy_tags_from_source"])
    volume_id = instance.volume_ids["/dev/sdf"]
    if not fits:
        assert problems[0].reason.startswith(
            f"a snapshot of {volume_id} would have {number + len(tags.OWN_KEYS)} tags"
        )
        assert check_against_ec2(aws, replace(inputs, exclude_data_volume_ids=(volume_id,))) == []
