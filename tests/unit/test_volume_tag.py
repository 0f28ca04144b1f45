"""`snapset.sets.volume_tag`: what a snapshot does not record of its volume, as the value of one tag."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset.aws.records import Volume
from snapset.sets import tags
from snapset.sets.volume_tag import VOLUME_TYPES, VolumeAttributes, parse

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
attributes = st.builds(
    VolumeAttributes,
    volume_type=st.sampled_from(VOLUME_TYPES),
    iops=st.none() | st.integers(100, 256_000),
    throughput=st.none() | st.integers(125, 2000),
    multi_attach=st.booleans(),
    delete_on_termination=st.booleans(),
    tags=st.dictionaries(texts.filter(lambda key: tags.tag_map({key: ""}) is None), texts, max_size=12),
)


def volume(**fields: Any) -> Volume:
    always = {"volume_id": "vol-1", "snapshot_id": "", "size_gib": 8, "availability_zone": "us-east-1a"}
    return Volume(**{**always, "state": "in-use", "create_time": "2026-11-23T23:15:00Z", **fields})


@given(attributes)
def test_what_is_written_is_read_again_but_for_tags_without_room(was: VolumeAttributes) -> None:
    text = was.text()
    assert len(text) <= tags.MAX_VALUE_LENGTH
    again = parse(text)
    assert again
    assert again.tags.items() <= was.tags.items()
    assert (again.volume_type, again.iops, again.throughput) == (was.volume_type, was.iops, was.throughput)
    assert again.multi_attach == was.multi_attach
    assert again.delete_on_termination == was.delete_on_termination


def test_the_name_is_kept_before_other_tags() -> None:
    was = VolumeAttributes(volume_type="gp3", tags={"A": "x" * 150, "Name": "y" * 100, "Z": "z"})
    again = parse(was.text())
    assert again
    assert again.tags == {"Name": "y" * 100, "Z": "z"}


@pytest.mark.parametrize(
    ("seen", "kept"),
    [
        ({"volume_type": "gp2", "iops": 100}, {"type": "gp2"}),
        ({"volume_type": "gp3", "iops": 3000, "throughput": 125}, {"type": "gp3", "iops": 3000, "throughput": 125}),
        (
            {"volume_type": "io2", "iops": 4000, "multi_attach": True},
            {"type": "io2", "iops": 4000, "multiAttach": True},
        ),
        ({"volume_type": "st1", "deleted_with_instance": True}, {"type": "st1", "deleteOnTermination": True}),
        (
            {"volume_type": "sc1", "tags": {"Name": "logs", "aws:backup:source": "x", "snapset:restored-by": "y"}},
            {"type": "sc1", "tags": {"Name": "logs"}},
        ),
    ],
)
def test_of_a_volume_what_create_volume_takes_is_kept(seen: dict[str, Any], kept: dict[str, Any]) -> None:
    assert json.loads(VolumeAttributes.of(volume(**seen)).text()) == kept


@pytest.mark.parametrize(
    "text",
    [
        *("", "gp3", "null", "[]", "{}", '{"type":"gp9"}', '{"type":["gp3"]}', '{"type":"gp3","iops":"many"}'),
        *('{"type":"gp3","iops":true}', '{"type":"gp3","iops":3000.5}', '{"type":"gp3","tags":["a"]}'),
    ],
)
def test_what_somebody_else_wrote_counts_as_not_known(text: str) -> None:
    assert parse(text) is None


@given(texts)
def test_no_text_makes_it_fail(text: str) -> None:
    parse(text)
    parse(json.dumps({"type": "gp3", "tags": {text: text}}))


def test_tags_that_a_volume_can_not_have_are_left_out() -> None:
    found = parse('{"type":"gp3","tags":{"aws:a":"1","snapset:x":"2","n":3,"ok":"4"}}')
    assert found
    assert found.tags == {"ok": "4"}


@given(st.lists(st.from_regex(r"(/dev/)?(sd[a-z]|xvd[b-d][a-z])[0-9]?", fullmatch=True), unique=True, max_size=128))
def test_devices_are_read_again_as_far_as_there_was_room(devices: list[str]) -> None:
    text = tags.devices_text(devices)
    assert len(text) <= tags.MAX_VALUE_LENGTH
    again = tags.devices_of(text)
    assert set(again) <= set(devices)
    assert len(again) == len(devices) or len(text) > 240
