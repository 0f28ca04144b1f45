"""`parse_duration`: what `--timeout` and `wait_timeout` take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset.errors import InputError
from snapset.retry import parse_duration

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1),
        ("90", 90),
        ("90s", 90),
        ("30m", 30 * MINUTE),
        ("2h", 2 * HOUR),
        ("1d", DAY),
        ("1h30m", HOUR + 30 * MINUTE),
        ("1d2h3m4s", DAY + 2 * HOUR + 3 * MINUTE + 4),
        ("1d30s", DAY + 30),
        ("0h5m", 5 * MINUTE),
        ("007m", 7 * MINUTE),
        ("90m", 90 * MINUTE),
        (" 2h\n", 2 * HOUR),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *" 0hsdm",
        "",
        "0s",
        "0h0m",
        "soon",
        "-5m",
        "+5m",
        "1.5h",
        "1,5h",
        "2 h",
        "2H",
        "5min",
        "1m2h",
        "5mm",
        "1w",
        "1_000",
        "1e3",
    ],
)
def test_what_is_no_duration_is_quoted_with_an_example(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_duration(text)
    assert str(caught.value) == (f"reading the duration {text!r}: it is none. Write it like 90s, 30m, 2h or 1h30m.")


@given(st.integers(1, 10**9))
def test_a_number_of_seconds_written_in_units_is_read_back(seconds: int) -> None:
    minutes, rest = divmod(seconds, MINUTE)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = {"d": days, "h": hours, "m": minutes, "s": rest}
    assert parse_duration("".join(f"{number}{unit}" for unit, number in parts.items())) == seconds
    assert parse_duration("".join(f"{number}{unit}" for unit, number in parts.items() if number)) == seconds
    assert parse_duration(f"{seconds}") == parse_duration(f"{seconds}s") == seconds


@given(st.text(alphabet="0123456789dhms. -", max_size=12))
def test_a_text_is_a_positive_number_of_seconds_or_an_input_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except InputError:
        return
    assert 0 < seconds < float("inf")


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_that_is_too_large_is_no_duration(digits: int) -> None:
    with pytest.raises(InputError):
        parse_duration("9" * digits)


@pytest.mark.parametrize("text", ["1h30", "2d12"])
def test_a_number_without_a_unit_stands_alone(text: str) -> None:
    with pytest.raises(InputError):
        parse_duration(text)
