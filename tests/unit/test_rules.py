"""`snapset.rules`: what is not known yet, and the rules that inputs share."""

from __future__ import annotations

import re
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset import rules
from snapset.errors import InputError, NotPermittedError
from snapset.rules import UNKNOWN, Problem, has_unknown


def test_the_sentinel_for_the_unknown_is_pulumis_own() -> None:
    assert pulumi.runtime.rpc.UNKNOWN == UNKNOWN


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values, st.data())
def test_the_unknown_is_seen_at_any_depth_and_nowhere_else(value: Any, data: st.DataObject) -> None:
    assert not has_unknown(value)
    nested: Any = UNKNOWN
    for wrap in data.draw(st.lists(st.sampled_from([lambda v: [v], lambda v: {"k": v}, lambda v: (1, v)]))):
        nested = wrap(nested)
    assert has_unknown(nested)
    assert has_unknown([value, {"deep": nested}])


def test_the_first_problem_is_refused_and_none_is_not() -> None:
    rules.refuse([])
    problems = [Problem(property="tags", reason="no"), Problem(property="location", reason="neither")]
    with pytest.raises(InputError, match=r"^reading tags: no\.$"):
        rules.refuse(problems)
    with pytest.raises(InputError, match=r"^reading --tag: no\.$"):
        rules.refuse(problems, names={"tags": "--tag"})


def test_the_error_behind_a_problem_is_raised_as_it_is() -> None:
    error = NotPermittedError("checking snapshots of i-1: no", code="UnauthorizedOperation")
    with pytest.raises(NotPermittedError) as caught:
        rules.refuse([Problem(property="instance_id", reason="no", error=error)], names={"instance_id": "INSTANCE"})
    assert caught.value is error


@pytest.mark.parametrize(("value", "unset"), [(None, True), ("", True), (0, False), (False, False), ({}, False)])
def test_only_none_and_the_empty_string_are_unset(value: Any, unset: bool) -> None:
    assert rules.is_unset(value) is unset


@given(json_values)
def test_a_rule_names_the_value_that_it_refuses(value: Any) -> None:
    word = re.compile("[a-z]+")
    kept: dict[rules.Rule, bool] = {
        rules.boolean: isinstance(value, bool),
        rules.string: isinstance(value, str),
        rules.one_of("a", "b"): value in ("a", "b"),
        rules.matches(word, "a word", "abc"): isinstance(value, str) and word.fullmatch(value) is not None,
    }
    for rule, holds in kept.items():
        reason = rule(value)
        assert (reason is None) is holds
        assert reason is None or repr(value) in reason


def test_a_rule_says_what_would_be_right() -> None:
    assert rules.matches(re.compile("x"), "a word", "abc")("y") == "'y' is not a word (like abc)"
    assert rules.one_of("regional", "local")("here") == "'here' is not one of regional, local"
    assert rules.instance_id("i-1") == "'i-1' is not an instance id (like i-0123456789abcdef0)"
    assert rules.region("here") == "'here' is not a Region (like us-east-1)"
