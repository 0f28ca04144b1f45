"""`snapset.sets.inputs`: what is accepted as an input, and what is said of what is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset.errors import InputError
from snapset.rules import UNKNOWN
from snapset.sets.inputs import check_inputs, parse

INSTANCE = "i-0123456789abcdef0"
OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
VOLUMES = [f"vol-{number:017x}" for number in range(41)]

VALID: dict[str, list[Any]] = {
    "instance_id": [INSTANCE, "i-01234567", "i-ffffffff"],
    "exclude_boot_volume": [True, False],
    "exclude_data_volume_ids": [[], ["vol-01234567"], ("vol-0123456789abcdef0",), VOLUMES[:40]],
    "exclude_data_volume_tags": [{}, {"backup": "no"}, {"aws:backup:source": ""}],
    "copy_tags_from_instance": [True, False],
    "description": ["", "before release 42", "ü" * 255],
    "tags": [{}, {"app": "shop", "empty": "", "Snapset": "x", "aws": "x"}, {f"k{n}": "v" for n in range(25)}],
    "copy_tags_from_source": ["volume"],
    "outpost_arn": [
        OUTPOST,
        "arn:aws-us-gov:outposts:us-gov-west-1:123456789012:outpost/op-0123456789abcdef0",
        "arn:aws-cn:outposts:cn-north-1:123456789012:outpost/op-0123456789abcdef0",
        "arn:aws-iso-b:outposts:us-isob-east-1:123456789012:outpost/op-0123456789abcdef0",
    ],
    "location": ["regional", "local"],
    "region": ["us-east-1", "us-gov-west-1", "ap-southeast-7", "eusc-de-east-1", "us-iso-east-1", "eu-west-12"],
    "triggers": ["a", 1.0, True, ["a", {"b": None}], {"a": [1]}],
    "change_id": ["3f2a", "c" * 300, ""],
}

# The property, a value that it can't have, and what is said of it.
INVALID: list[tuple[str, Any, str]] = [
    ("instance_id", None, "None is not an instance id (like i-0123456789abcdef0)"),
    ("instance_id", "", "'' is not an instance id"),
    ("instance_id", 7.0, "7.0 is not an instance id"),
    ("instance_id", "i-0123456", "'i-0123456' is not an instance id"),
    ("instance_id", "i-012345678", "'i-012345678' is not"),
    ("instance_id", "i-0123456789abcdef", "'i-0123456789abcdef' is not"),
    ("instance_id", "i-0123456789abcdef01", "'i-0123456789abcdef01' is not"),
    ("instance_id", "i-0123456789ABCDEF0", "'i-0123456789ABCDEF0' is not"),
    ("instance_id", "i-0123456g", "'i-0123456g' is not"),
    ("instance_id", f"{INSTANCE}\n", "is not an instance id"),
    ("instance_id", f" {INSTANCE}", "is not an instance id"),
    ("instance_id", "vol-01234567", "'vol-01234567' is not an instance id"),
    ("instance_id", [INSTANCE], "is not an instance id"),
    ("exclude_boot_volume", "true", "'true' is neither true nor false"),
    ("exclude_boot_volume", 1, "1 is neither true nor false"),
    ("exclude_data_volume_ids", "vol-01234567", "'vol-01234567' is not a list of volume ids"),
    ("exclude_data_volume_ids", {"vol-01234567": True}, "is not a list of volume ids"),
    ("exclude_data_volume_ids", ["vol-1"], "'vol-1' is not a volume id (like vol-0123456789abcdef0)"),
    ("exclude_data_volume_ids", [None], "None is not a volume id"),
    ("exclude_data_volume_ids", [VOLUMES[0], INSTANCE], f"{INSTANCE!r} is not a volume id"),
    ("exclude_data_volume_ids", [VOLUMES[0], VOLUMES[1], VOLUMES[0]], f"{VOLUMES[0]} is listed twice"),
    ("exclude_data_volume_ids", VOLUMES, "41 exclusions are too many; AWS takes at most 40"),
    ("description", 5.0, "5.0 is not a string"),
    ("description", "d" * 256, "it has 256 characters; AWS takes at most 255"),
    ("tags", ["app=shop"], "is not a map of tags"),
    ("tags", {"app": 1.0}, "the value of tag 'app' is 1.0, which is not a string"),
    ("tags", {"app": None}, "the value of tag 'app' is None, which is not a string"),
    ("tags", {f"k{n}": "v" for n in range(26)}, "26 tags are too many"),
    ("copy_tags_from_source", "instance", "'instance' is not one of volume"),
    ("copy_tags_from_source", True, "True is not one of volume"),
    ("outpost_arn", "op-0123456789abcdef0", "'op-0123456789abcdef0' is not an Outpost ARN (like arn:aws:outposts:"),
    ("outpost_arn", OUTPOST[:-1], "is not an Outpost ARN"),
    ("outpost_arn", OUTPOST.replace("123456789012", "12345678901"), "is not an Outpost ARN"),
    ("outpost_arn", OUTPOST.replace("arn:aws:", "arn:azure:"), "is not an Outpost ARN"),
    ("outpost_arn", OUTPOST.replace(":outposts:", ":ec2:"), "is not an Outpost ARN"),
    ("location", "Local", "'Local' is not one of regional, local"),
    ("region", "", "'' is not a Region (like us-east-1)"),
    ("region", "us-east-1a", "'us-east-1a' is not a Region"),
    ("region", "us-east", "'us-east' is not a Region"),
    ("region", "US-EAST-1", "'US-EAST-1' is not a Region"),
    ("region", "us east 1", "'us east 1' is not a Region"),
    ("change_id", 7.0, "7.0 is not a string"),
]


def props(**given: Any) -> dict[str, Any]:
    return {"instance_id": INSTANCE, **given}


def found(**given: Any) -> list[str]:
    return [problem.property for problem in check_inputs(props(**given))]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in VALID.items() for value in values])
def test_a_valid_input_has_no_problem(name: str, value: Any) -> None:
    assert check_inputs(props(**{name: value})) == []


@pytest.mark.parametrize(("name", "value", "said"), INVALID)
def test_an_invalid_input_is_the_one_problem_and_is_quoted(name: str, value: Any, said: str) -> None:
    [problem] = check_inputs(props(**{name: value}))
    assert problem.property == name
    assert said in problem.reason
    assert "\n" not in problem.reason
    with pytest.raises(InputError) as caught:
        parse(props(**{name: value}))
    assert str(caught.value) == f"reading {name}: {problem.reason}."


@pytest.mark.parametrize("name", sorted(VALID.keys() - {"instance_id"}))
def test_every_input_but_the_instance_may_be_left_out(name: str) -> None:
    assert check_inputs(props(**{name: None})) == []
    assert found(instance_id=None) == ["instance_id"]
    assert [problem.property for problem in check_inputs({})] == ["instance_id"]


def test_all_problems_are_found_at_once() -> None:
    assert found(instance_id="i-1", description="d" * 256, tags={"aws:a": "b"}, location="here") == [
        "instance_id",
        "description",
        "tags",
        "location",
    ]


def test_an_outpost_and_a_location_together_are_refused() -> None:
    assert found(outpost_arn=OUTPOST, location="local") == ["location"]


# One valid value of each input; an Outpost and a location exclude each other.
whole = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALID.items()}).flatmap(
    lambda all_inputs: st.sampled_from(["outpost_arn", "location"]).map(
        lambda left_out: {**all_inputs, left_out: None}
    )
)


@given(whole)
def test_valid_inputs_are_valid_together(inputs: dict[str, Any]) -> None:
    assert check_inputs(inputs) == []


@given(whole, st.sampled_from(sorted(VALID)))
def test_an_input_that_is_not_known_yet_is_passed_over(inputs: dict[str, Any], name: str) -> None:
    exclusive = {"outpost_arn": "location", "location": "outpost_arn"}
    if name in exclusive:
        inputs = {**inputs, exclusive[name]: None}
    assert check_inputs({**inputs, name: UNKNOWN}) == []


@pytest.mark.parametrize(
    "given_both", [{"outpost_arn": UNKNOWN, "location": "local"}, {"outpost_arn": OUTPOST, "location": UNKNOWN}]
)
def test_an_outpost_that_is_not_known_yet_does_not_clash_with_a_location(given_both: dict[str, Any]) -> None:
    assert found(**given_both) == []


@given(st.sets(st.sampled_from(sorted(VALID))))
def test_what_is_known_is_checked_beside_what_is_not(unknown: set[str]) -> None:
    bad = {"instance_id": "i-1", "description": 5.0, "region": "here"}
    given_inputs = {**bad, **dict.fromkeys(unknown - {"location", "outpost_arn"}, UNKNOWN)}
    assert {problem.property for problem in check_inputs(given_inputs)} == bad.keys() - unknown


@given(st.lists(st.sampled_from([*VOLUMES[:5], UNKNOWN]), min_size=1))
def test_exclusions_that_are_not_known_yet_are_neither_malformed_nor_twice_the_same(exclusions: list[str]) -> None:
    known = [volume_id for volume_id in exclusions if volume_id != UNKNOWN]
    problems = check_inputs(props(exclude_data_volume_ids=exclusions))
    too_many, twice = len(exclusions) > 40, len(set(known)) < len(known)
    assert [problem.property for problem in problems] == ["exclude_data_volume_ids"] * (too_many or twice)


def test_a_malformed_exclusion_is_found_beside_one_that_is_not_known_yet() -> None:
    [problem] = check_inputs(props(exclude_data_volume_ids=[UNKNOWN, "vol-1"]))
    assert "'vol-1' is not a volume id" in problem.reason


def test_tags_of_which_one_is_not_known_yet_are_passed_over() -> None:
    assert found(tags={"app": UNKNOWN, "tier": "1"}) == []


def test_parse_fills_in_the_defaults_and_sorts_the_exclusions() -> None:
    inputs = parse(props(scope="o/p/s/n", region="us-east-1", exclude_data_volume_ids=VOLUMES[2:0:-1], tags=None))
    assert inputs.exclude_data_volume_ids == tuple(VOLUMES[1:3])
    assert (inputs.exclude_boot_volume, inputs.tags) == (False, {})
    assert (inputs.scope, inputs.region, inputs.description, inputs.location) == ("o/p/s/n", "us-east-1", None, None)
