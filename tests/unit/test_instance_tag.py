"""What the instance of a set was is read again from its tags, and nothing that somebody else wrote there fails."""

from __future__ import annotations

import dataclasses
import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset.aws.records import Instance, InstanceFacts
from snapset.sets import tags
from snapset.sets.instance_tag import parse, tags_of

ITEM = {
    "InstanceId": "i-0123456789abcdef0",
    "State": {"Name": "running"},
    "Placement": {"AvailabilityZone": "us-east-1a"},
    "LaunchTime": datetime.datetime(2026, 11, 26, tzinfo=datetime.timezone.utc),
    "RootDeviceName": "xvda",
    "ImageId": "ami-0123456789abcdef0",
    "InstanceType": "u7inh-32tb.480xlarge",
    "Architecture": "x86_64",
    "BootMode": "uefi-preferred",
    "CurrentInstanceBootMode": "legacy-bios",
    "UsageOperation": "RunInstances:0010",
    "TpmSupport": "v2.0",
    "EnaSupport": True,
    "SubnetId": "subnet-0123456789abcdef0",
    "SecurityGroups": [{"GroupId": f"sg-{number:017x}", "GroupName": "x"} for number in range(7)],
}


@pytest.mark.parametrize("number", [0, 1, 3, 9])
def test_all_that_is_known_fits_in_two_tags_and_is_read_again(number: int) -> None:
    codes = [{"ProductCodeId": f"{code:025}", "ProductCodeType": "marketplace"} for code in range(number)]
    instance = Instance.parse({**ITEM, "ProductCodes": codes})
    written = tags_of(instance.facts)
    was = parse(written)
    assert was
    assert (was.root_device, was.boot_mode, was.has_ena) == ("xvda", "legacy-bios", True)
    assert (len(was.product_codes), len(was.security_group_ids)) == (min(number, 4), 5)
    assert tags_of(was) == written
    assert set(written) <= set(tags.INSTANCE_WAS)
    assert max(map(len, written.values())) <= tags.MAX_VALUE_LENGTH
    facts = instance.facts
    assert was == dataclasses.replace(
        facts, product_codes=facts.product_codes[:4], security_group_ids=facts.security_group_ids[:5]
    )


def test_of_an_instance_of_which_ec2_says_little_that_little_is_recorded() -> None:
    bare = {key: ITEM[key] for key in ("InstanceId", "State", "Placement", "LaunchTime")}
    facts = Instance.parse(bare).facts
    assert facts == InstanceFacts()
    assert parse(tags_of(facts)) == facts


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "7", '{"root":7}', '{"products":"x"}', '{"products":[7]}', '{"root":"/dev/sda1"']
)
def test_what_snapset_did_not_write_is_passed_over(text: str) -> None:
    assert parse({tags.INSTANCE_WAS[0]: text}) is None


@given(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists))
def test_no_text_makes_it_fail(text: str, value: object) -> None:
    parse({tags.INSTANCE_WAS[0]: text, tags.INSTANCE_WAS[1]: text})
    parse({tags.INSTANCE_WAS[0]: json.dumps({"root": value, "ena": value, "products": value})})
