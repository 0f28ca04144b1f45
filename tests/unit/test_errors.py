"""`snapset.errors`: one tree, whose docstring is true, and which crosses Pulumi's engine as text."""

from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset import errors

CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, errors.SnapsetError)]
# A locked stack stops the engine before a program runs, so `LockedError` never crosses it.
CROSSING = [each for each in CLASSES if each is not errors.LockedError]

lines = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])).map(str.strip)
# How Pulumi 3.259 shows a failure: in `check`, of a property, of a handler, of a program.
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
    as_drawn = set()
    for branch, name, code in drawn:
        path[1 + len(branch) // 4 :] = [name]
        as_drawn.add((name, path[-2], int(code)))
    assert as_drawn == {(each.__name__, each.__bases__[0].__name__, each.exit_code) for each in CLASSES}
    assert len(drawn) == len(CLASSES)


@pytest.mark.parametrize("each", CLASSES)
def test_each_class_says_in_its_own_words_what_it_means(each: type[errors.SnapsetError]) -> None:
    assert each.__doc__
    assert each.__doc__.splitlines()[0].endswith(".")
    assert [other for other in CLASSES if other.__doc__ == each.__doc__] == [each]


@pytest.mark.parametrize("each", CLASSES)
def test_an_error_is_its_message_and_its_code(each: type[errors.SnapsetError]) -> None:
    error = each("creating snapshots of i-0abc: no", code="Blocked")
    assert (str(error), error.code) == ("creating snapshots of i-0abc: no", "Blocked")
    assert each("no").code is None


@given(st.sampled_from(CROSSING), lines)
def test_what_is_shown_is_read_back(each: type[errors.SnapsetError], text: str) -> None:
    read = errors.parse_shown(errors.show(each(text)))
    assert type(read) is each
    assert str(read) == text
    assert read.exit_code == each.exit_code


@given(st.sampled_from(CROSSING), lines, st.sampled_from(SURROUNDINGS))
def test_what_pulumi_shows_around_an_error_is_taken_off(
    each: type[errors.SnapsetError], text: str, around: str
) -> None:
    read = errors.parse_shown(around.format(errors.show(each(text))))
    assert type(read) is each
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


def test_no_aws_code_belongs_to_two_families() -> None:
    families = [
        errors.THROTTLE_CODES,
        errors.PERMISSION_CODES,
        errors.CREDENTIAL_CODES,
        errors.SERVER_FAULT_CODES,
    ]
    assert sum(len(family) for family in families) == len(frozenset().union(*families))
