"""`snapset.tags`: the user's tags up to AWS's limits, and the ids that snapset makes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset.sets import tags

RESERVED = {"aws:": "keys that start with 'aws:' are reserved by AWS", "snapset:": "are snapset's own"}


def any_case(text: str) -> st.SearchStrategy[str]:
    return st.tuples(*(st.sampled_from([letter.lower(), letter.upper()]) for letter in text)).map("".join)


@pytest.mark.parametrize(
    "allowed",
    [
        {},
        {f"k{number}": "" for number in range(25)},
        {"k" * 128: "v"},
        {"ü" * 128: "v"},
        {"k": "v" * 256},
        {"aws": "x", "awsome:x": "x", "my-aws:x": "x", " aws:x": "x"},
        {"snapset": "x", "snapsets:x": "x", "my:snapset:set": "x"},
    ],
)
def test_tags_up_to_the_limit_are_allowed(allowed: dict[str, str]) -> None:
    assert tags.tag_map(allowed) is None


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ({f"k{number}": "" for number in range(26)}, "26 tags are too many"),
        ({f"k{number}": "" for number in range(26)}, "give at most 25"),
        ({"": "v"}, "a tag key is empty"),
        ({"k" * 129: "v"}, "has 129 characters; AWS takes at most 128"),
        ({"k": "v" * 257}, "the value of tag 'k' has 257 characters; AWS takes at most 256"),
        ({"fine": "v", "aws:x": "v"}, "tag key 'aws:x'"),
        (["app=shop"], "['app=shop'] is not a map of tags"),
        ({"app": 1.0}, "the value of tag 'app' is 1.0, which is not a string"),
        ({"app": None}, "the value of tag 'app' is None, which is not a string"),
    ],
)
def test_what_is_beyond_the_limit_is_said_in_one_short_line(refused: Any, said: str) -> None:
    reason = tags.tag_map(refused)
    assert reason is not None
    assert said in reason
    assert len(reason) < 200
    assert "\n" not in reason


@given(
    st.sampled_from(sorted(RESERVED)).flatmap(lambda prefix: st.tuples(st.just(prefix), any_case(prefix))), st.text()
)
def test_reserved_prefixes_are_refused_in_any_case(prefix: tuple[str, str], rest: str) -> None:
    plain, written = prefix
    reason = tags.tag_map({"fine": "v", f"{written}{rest}": "v"})
    assert reason is not None
    assert RESERVED[plain] in reason


def test_the_users_tags_leave_room_for_all_of_snapsets_own() -> None:
    own = {value for name, value in vars(tags).items() if name.isupper() and str(value).startswith(tags.PREFIX)}
    own = own - {tags.PREFIX, tags.RESTORED_FOR} | set(tags.INSTANCE_WAS)
    assert own == set(tags.OWN_KEYS)
    assert tags.MAX_USER_TAGS + len(own) <= tags.MAX_TAGS == 50
    assert all(tags.tag_map({key: "x"}) for key in own)


def test_set_ids_look_like_the_ids_of_aws_and_never_repeat() -> None:
    made = [tags.new_set_id() for _ in range(2000)]
    assert all(tags.SET_ID.fullmatch(set_id) and len(set_id) == 21 for set_id in made)
    assert len(set(made)) == len(made)
    # Random in every digit, the last one too.
    assert all(len({set_id[position] for set_id in made}) == 16 for position in range(4, 21))


def test_claims_are_tag_values_that_never_repeat() -> None:
    made = [tags.new_claim() for _ in range(2000)]
    assert all(re.fullmatch("[0-9a-f]{16}", claim) for claim in made)
    assert len(set(made)) == len(made)


@given(st.text(), st.text())
def test_a_scope_can_not_pass_for_a_shape(scope: str, shape: str) -> None:
    made = tags.token_of(scope=scope, shape={"a": shape})
    assert made != tags.token_of(scope=f"{scope}{shape}", shape={})
    assert made != tags.token_of(scope=scope, shape={"a": shape, "b": None})
    assert made == tags.token_of(scope=scope, shape={"a": shape})


@pytest.mark.parametrize(
    ("most", "resource", "said"),
    [
        (25, "snapshot", "a snapshot has room for 50, and snapset keeps 25 for itself; give at most 25"),
        (45, "volume", "a volume has room for 50, and snapset keeps 5 for itself; give at most 45"),
    ],
)
def test_too_many_tags_are_told_how_many_there_may_be_and_why(most: int, resource: str, said: str) -> None:
    allowed = {f"k{number}": "" for number in range(most)}
    assert tags.tag_map(allowed, most=most, resource=resource) is None
    refused = {**allowed, "one": "more"}
    assert tags.tag_map(refused, most=most, resource=resource) == f"{most + 1} tags are too many: {said}"


def test_long_texts_that_begin_alike_stay_apart_in_a_tag() -> None:
    one, other = (tags.fit("x" * 256 + end) for end in "12")
    assert one != other
    assert len(one) == len(other) == tags.MAX_VALUE_LENGTH
    assert tags.fit("x" * 256) == "x" * 256


@pytest.mark.parametrize("volumes_copied", [True, False])
def test_the_call_sets_every_own_key_where_it_could_be_copied_from_a_volume(volumes_copied: bool) -> None:
    made = tags.own_tags(
        set_id="s",
        token="t",
        resource="",
        instance_id="i",
        change_id=None,
        count=None,
        was={},
        excluded="",
        volumes_copied=volumes_copied,
    )
    assert made.keys() == set(tags.OWN_KEYS if volumes_copied else (tags.SET, tags.TOKEN, tags.INSTANCE))
    assert {key for key, value in made.items() if value} == {tags.SET, tags.TOKEN, tags.INSTANCE}


IDS = [f"vol-{number:017x}" for number in range(0xABC00, 0xABC28)]


@pytest.mark.parametrize(
    ("volume_ids", "root", "text"),
    [
        ([], False, ""),
        ([], True, "root"),
        (["vol-01234567"], False, "01234567"),
        (IDS[1::-1], True, f"root {IDS[0][4:]} {IDS[1][4:]}"),
        (IDS[:14], True, f"root {' '.join(key[4:] for key in IDS[:14])}"),
        (IDS[:15], False, " ".join(key[-5:] for key in IDS[:15])),
        (IDS, True, f"root {' '.join(key[-5:] for key in IDS)}"),
    ],
)
def test_what_a_set_leaves_out_is_one_tag_abbreviated_where_there_are_many(
    volume_ids: list[str], root: bool, text: str
) -> None:
    assert tags.excluded_text(volume_ids, root=root) == text
    assert len(text) <= tags.MAX_VALUE_LENGTH
