"""`make test` runs a sample of the long tests that misses no row and no column, and that is the same everywhere."""

from __future__ import annotations

import random

from support.sample import sample_of

ROWS = [f"claim.CreateTags.{number}" for number in range(12)]
COLUMNS = ["engine", "provider", "program", "late"]
CASES = [f"tests/test_a.py::test_b[{row}-{column}]" for row in ROWS for column in COLUMNS]


def test_a_sample_has_about_a_fifth_of_the_cases() -> None:
    assert len(CASES) / 6 < len(sample_of(CASES)) < len(CASES) / 2


def test_each_row_and_each_column_keeps_a_case() -> None:
    sample = " ".join(sample_of(CASES))
    assert [part for part in COLUMNS + ROWS if f"[{part}-" not in sample and f"-{part}]" not in sample] == []


def test_a_number_after_a_hash_makes_no_row() -> None:
    sample = sample_of(f"test[CreateTags#{number}]" for number in range(120))
    assert 12 < len(sample) < 36


def test_the_order_in_which_cases_are_found_does_not_matter() -> None:
    assert sample_of(random.sample(CASES, len(CASES))) == sample_of(CASES)


def test_the_sample_does_not_change_by_itself() -> None:
    names = [f"test[#{number}]" for number in range(12)]
    assert sorted(sample_of(names)) == ["test[#10]", "test[#6]", "test[#9]"]


def test_a_case_that_is_asked_for_alone_is_in_the_sample() -> None:
    assert all(sample_of([case]) == {case} for case in CASES)
