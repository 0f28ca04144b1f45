"""What shapes a set: which changes mean a new one, and the token by which an intent is known again."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from snapset.rules import UNKNOWN
from snapset.sets.inputs import find_changes, find_differences, is_same_change, parse, shape_of

INSTANCE = "i-0123456789abcdef0"
VOLUMES = [f"vol-{number:017x}" for number in range(6)]
OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"

# Every shaping input: its default, and values that all mean something else.
SHAPING: dict[str, tuple[Any, list[Any]]] = {
    "instance_id": (None, [INSTANCE, "i-0123456789abcdef1"]),
    "exclude_boot_volume": (False, [True]),
    "exclude_data_volume_ids": ([], [[VOLUMES[0]], VOLUMES[:2], VOLUMES[1:3]]),
    "exclude_data_volume_tags": ({}, [{"backup": "no"}, {"backup": "never"}]),
    "description": (None, ["before release 42", "before release 43"]),
    "tags": ({}, [{"app": "shop"}, {"app": "till"}, {"app": "shop", "tier": "1"}]),
    "copy_tags_from_source": (None, ["volume"]),
    "copy_tags_from_instance": (False, [True]),
    "outpost_arn": (None, [OUTPOST, OUTPOST.replace("us-east-1", "us-west-2")]),
    "location": (None, ["local", "regional"]),
    "region": (None, ["us-east-1", "us-west-2"]),
    "change_id": (None, ["3f2a", "3f2b"]),
    "triggers": (None, ["a", "", 1.0, 2.5, "1.0", ["a"], ["b", "a"], ["a", "b"], {"a": "b"}, {"b": "a"}]),
}
EVERY_CHANGE = [
    (name, old, new) for name, (default, others) in SHAPING.items() for old in [default, *others] for new in others
]
shapes = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from([default, *others]) for name, (default, others) in SHAPING.items()}
)


def token_of(scope: str = "org/shop/prod/web", **shape: Any) -> str:
    return parse({"instance_id": INSTANCE, "region": "us-east-1", "scope": scope, **shape}).token


def test_the_table_above_has_every_shaping_input() -> None:
    assert SHAPING.keys() == shape_of({}).keys()


@pytest.mark.parametrize(("name", "old", "new"), [(name, old, new) for name, old, new in EVERY_CHANGE if old != new])
def test_a_changed_shaping_input_is_named(name: str, old: Any, new: Any) -> None:
    assert find_differences({name: old}, {name: new}) == [name]


@pytest.mark.parametrize("name", SHAPING)
def test_left_out_none_and_the_default_are_the_same(name: str) -> None:
    default, others = SHAPING[name]
    ways: list[dict[str, Any]] = [{}, {name: None}, {name: default}]
    assert [find_differences(old, new) for old in ways for new in ways] == [[]] * 9
    assert [find_differences(way, {name: others[0]}) for way in ways] == [[name]] * 3


@given(shapes, shapes)
def test_the_changed_inputs_are_those_that_differ(olds: dict[str, Any], news: dict[str, Any]) -> None:
    def value(props: dict[str, Any], name: str) -> Any:
        return props.get(name, SHAPING[name][0])

    assert set(find_differences(olds, news)) == {name for name in SHAPING if value(olds, name) != value(news, name)}
    assert find_differences(news, news) == []


@given(st.lists(st.sampled_from(VOLUMES), unique=True), st.data())
def test_the_order_of_exclusions_does_not_matter(exclusions: list[str], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(exclusions))
    assert (
        find_differences({"exclude_data_volume_ids": exclusions}, {"exclude_data_volume_ids": tuple(shuffled)}) == []
    )
    assert token_of(exclude_data_volume_ids=exclusions) == token_of(exclude_data_volume_ids=shuffled)


@pytest.mark.parametrize("other", [{"wait": False}, {"wait_timeout": "5m"}, {"set_id": "set-1"}])
def test_behaviour_and_outputs_do_not_shape_the_set(other: dict[str, Any]) -> None:
    assert find_differences({"instance_id": INSTANCE}, {"instance_id": INSTANCE, **other}) == []
    assert token_of(**other) == token_of()


@given(shapes, st.sampled_from(sorted(SHAPING)))
def test_what_is_not_known_yet_may_have_changed(props: dict[str, Any], name: str) -> None:
    assert find_differences(props, {**props, name: UNKNOWN}) == [name]
    assert find_differences({**props, name: UNKNOWN}, {**props, name: UNKNOWN}) == [name]


@pytest.mark.parametrize(
    ("name", "value"),
    [("tags", {"app": UNKNOWN}), ("exclude_data_volume_ids", [UNKNOWN]), ("triggers", {"a": [{"b": UNKNOWN}]})],
)
def test_what_holds_something_that_is_not_known_yet_may_have_changed(name: str, value: Any) -> None:
    assert find_differences({name: value}, {name: value}) == [name]


@pytest.mark.parametrize(("old", "new"), [(True, 1.0), (0.0, False), ([True], [1.0])])
def test_a_trigger_that_goes_from_a_boolean_to_a_number_is_a_change(old: Any, new: Any) -> None:
    assert find_differences({"triggers": old}, {"triggers": new}) == ["triggers"]


def test_a_token_is_32_hex_digits() -> None:
    assert re.fullmatch("[0-9a-f]{32}", token_of())


@given(st.dictionaries(st.text(min_size=1, alphabet="abcäö-_ "), st.text(max_size=9), max_size=9), st.data())
def test_the_order_of_tags_does_not_change_the_token(tags: dict[str, str], data: st.DataObject) -> None:
    shuffled = dict(data.draw(st.permutations(list(tags.items()))))
    assert token_of(tags=tags) == token_of(tags=shuffled)


@given(st.data())
def test_the_order_of_keys_in_triggers_does_not_change_the_token_and_that_of_lists_does(data: st.DataObject) -> None:
    triggers = data.draw(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False) | st.booleans()))
    shuffled = dict(data.draw(st.permutations(list(triggers.items()))))
    assert token_of(triggers={"deep": [triggers]}) == token_of(triggers={"deep": [shuffled]})
    items = list(triggers.values())
    other = data.draw(st.permutations(items))
    # By value: 0.0 and -0.0 are one number, and give one token.
    assume(other != items)
    assert token_of(triggers=items) != token_of(triggers=other)


def test_the_tokens_of_all_shapes_differ() -> None:
    tokens = [token_of(**{name: value}) for name, (_, others) in SHAPING.items() for value in others]
    # The instance and the Region of these tokens are among the values.
    assert len(set(tokens)) == len(tokens) - 1


@given(st.lists(st.text(), min_size=2, max_size=9, unique=True))
def test_another_scope_has_another_token(scopes: list[str]) -> None:
    assert len({token_of(scope) for scope in scopes}) == len(scopes)


@pytest.mark.parametrize("name", sorted(SHAPING.keys() - {"instance_id", "region"}))
def test_left_out_none_and_the_default_have_the_same_token(name: str) -> None:
    ways: list[dict[str, Any]] = [{}, {name: None}, {name: SHAPING[name][0]}]
    assert {token_of(**way) for way in ways} == {token_of()}


@pytest.mark.parametrize("triggers", [1, [1], {"build": 1}, 2**53])
def test_a_whole_number_has_the_same_token_however_it_is_carried(triggers: Any) -> None:
    def as_floats(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: as_floats(item) for key, item in value.items()}
        return [as_floats(item) for item in value] if isinstance(value, list) else float(value)

    assert token_of(triggers=triggers) == token_of(triggers=as_floats(triggers))


CHANGE = {"instance_id": INSTANCE, "region": "us-east-1", "change_id": "42"}


@given(shapes, shapes)
def test_the_same_change_of_the_same_instance_changes_nothing_whatever_differs(
    olds: dict[str, Any], news: dict[str, Any]
) -> None:
    assert is_same_change({**olds, **CHANGE}, {**news, **CHANGE})
    assert find_changes({**olds, **CHANGE}, {**news, **CHANGE}) == []


@pytest.mark.parametrize(
    "other", [{"change_id": "43"}, {"instance_id": "i-0123456789abcdef1"}, {"region": "us-west-2"}]
)
@given(shapes, shapes)
def test_of_another_change_or_instance_every_difference_counts(
    other: dict[str, Any], olds: dict[str, Any], news: dict[str, Any]
) -> None:
    old, new = {**olds, **CHANGE}, {**news, **CHANGE, **other}
    assert not is_same_change(old, new)
    assert find_changes(old, new) == find_differences(old, new)
    assert set(find_changes(old, new)) >= set(other)


@given(shapes, shapes, st.sampled_from([None, ""]))
def test_without_a_change_id_every_difference_counts(
    olds: dict[str, Any], news: dict[str, Any], none: str | None
) -> None:
    olds, news = {**olds, "change_id": none}, {**news, "change_id": none}
    assert not is_same_change(olds, news)
    assert find_changes(olds, news) == find_differences(olds, news)
