"""`snapset.errors`: one tree, whose docstring is true, and which crosses Pulumi's engine as text."""

from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset import errors

CLASSES = [
    error_class
    for _, error_class in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error_class, errors.SnapsetError)
]
# A locked stack stops the engine before a program runs, so `LockedError` never crosses it.
CROSSING = [error_class for error_class in CLASSES if error_class is not errors.LockedError]

lines = st.text(alphabet=st.characters(exclude_categories=["C", "Zl", "Zp"])).map(str.strip)
# How Pulumi 3.259 to 3.274 shows a failure: in `check`, of a property, of a handler, of a program.
SURROUNDINGS = [
    "{}",
    "error: {}\n",
    "snapset:SnapshotSet resource 'web' has a problem: {}",
    "property instance_id value {{i-0123456789abcdef0}} has a problem: {}",
    "error: Exception calling application: {}",
    "error: Running program '/tmp/InputErrors/__main__.py' failed with an unhandled exception:\nRunError: {}\n",
]


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = re.findall(r"^    ([ │├└─]*)(\w+Error) +exit (\d)", errors.__doc__ or "", re.MULTILINE)
    path = ["Exception"]
    as_drawn: set[tuple[str, str, int]] = set()
    for branch, name, code in drawn:
        path[1 + len(branch) // 4 :] = [name]
        as_drawn.add((name, path[-2], int(code)))
    in_code: set[tuple[str, str, int]] = set()
    for error_class in CLASSES:
        assert error_class.__base__ is not None
        in_code.add((error_class.__name__, error_class.__base__.__name__, error_class.exit_code))
    assert as_drawn == in_code
    assert len(drawn) == len(CLASSES)


@pytest.mark.parametrize("error_class", CLASSES)
def test_every_class_says_in_its_own_words_what_it_means(error_class: type[errors.SnapsetError]) -> None:
    assert error_class.__doc__
    assert error_class.__doc__.splitlines()[0].endswith(".")
    assert [other for other in CLASSES if other.__doc__ == error_class.__doc__] == [error_class]


@pytest.mark.parametrize("error_class", CLASSES)
def test_an_error_is_its_message_and_its_code(error_class: type[errors.SnapsetError]) -> None:
    error = error_class("creating snapshots of i-0abc: no", code="Blocked")
    assert (str(error), error.code) == ("creating snapshots of i-0abc: no", "Blocked")
    assert error_class("no").code is None


@given(st.sampled_from(CROSSING), lines)
def test_what_is_shown_is_read_back(error_class: type[errors.SnapsetError], text: str) -> None:
    read = errors.parse_shown(errors.show(error_class(text)))
    assert read is not None
    assert type(read) is error_class
    assert str(read) == text
    assert read.exit_code == error_class.exit_code


@given(st.sampled_from(CROSSING), lines, st.sampled_from(SURROUNDINGS))
def test_what_pulumi_shows_around_an_error_is_taken_off(
    error_class: type[errors.SnapsetError], text: str, around: str
) -> None:
    read = errors.parse_shown(around.format(errors.show(error_class(text))))
    assert type(read) is error_class
    assert str(read) == text


@given(st.sampled_from(CROSSING), st.sampled_from(CROSSING), lines.filter(bool))
def test_of_an_error_that_quotes_another_the_outer_one_is_read(
    outer: type[errors.SnapsetError], inner: type[errors.SnapsetError], text: str
) -> None:
    read = errors.parse_shown(errors.show(outer(errors.show(inner(text)))))
    assert type(read) is outer
    assert str(read) == errors.show(inner(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "error: update failed",
        "InputError",
        "MyInputError: no",
        "ValueError: no",
        "InputErrors: no",
        "inputerror: no",
    ],
)
def test_a_text_that_shows_no_error_of_snapsets_is_none(text: str) -> None:
    assert errors.parse_shown(text) is None


def test_what_an_error_quotes_can_do_nothing_to_a_terminal_or_a_ci_log() -> None:
    quoted = errors.SetFailedError("snap-1 is in error: a\x1b[31m \x9b2J \u202e\n::error::x ##[group]")
    assert str(quoted) == r"snap-1 is in error: a\x1b[31m \x9b2J \u202e ::error::x ##\x5bgroup]"


def test_only_a_throttled_call_asks_to_wait() -> None:
    assert errors.ThrottledError("no").asks_for is None
    assert errors.ThrottledError("no", code="RequestLimitExceeded", asks_for=15.0).asks_for == 15.0
