"""How long snapset goes on trying, and what `--timeout` and `wait_timeout` take."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset import errors
from snapset.aws.errors import THROTTLE_CODES
from snapset.retry import Retry, looks, parse_duration, read_seconds, throttle_pause

MINUTE, HOUR, DAY = 60, 3600, 86400

VARIABLES = {
    "consistency": "SNAPSET_CONSISTENCY_SECONDS",
    "throttle": "SNAPSET_THROTTLE_SECONDS",
    "adoption": "SNAPSET_ADOPTION_SECONDS",
    "volume": "SNAPSET_VOLUME_SECONDS",
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


def test_without_variables_it_is_the_default() -> None:
    assert Retry.from_environment() == Retry()


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("1.5", 1.5), (" 90 ", 90.0), ("1e3", 1000.0)])
def test_every_variable_sets_its_own_time(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, seconds: float
) -> None:
    monkeypatch.setenv(VARIABLES[name], text)
    changed: dict[str, Any] = {name: seconds}
    assert Retry.from_environment() == Retry(**changed)


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(VARIABLES[name], "")
    assert Retry.from_environment() == Retry()


@pytest.mark.parametrize("variable", VARIABLES.values())
@pytest.mark.parametrize("text", ["soon", "5m", "1,5", "--1"])
def test_a_variable_that_is_no_number_is_an_input_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(errors.InputError) as caught:
        Retry.from_environment()
    assert str(caught.value) == f"reading {variable}: {text!r} is not a number of seconds."


@pytest.mark.parametrize("text", ["nan", "-1"])
def test_a_number_that_is_no_time_is_an_input_error(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SNAPSET_CONSISTENCY_SECONDS", text)
    with pytest.raises(errors.InputError):
        Retry.from_environment()


def test_what_is_missing_may_be_invisible_while_it_is_young() -> None:
    assert Retry(consistency=100).may_be_invisible(1)
    assert not Retry(consistency=100).may_be_invisible(200)
    assert not Retry(consistency=0).may_be_invisible(1)


def test_seconds_that_are_not_set_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNAPSET_READ_SECONDS", raising=False)
    assert read_seconds("SNAPSET_READ_SECONDS", 60.0) == 60.0
    monkeypatch.setenv("SNAPSET_READ_SECONDS", "7")
    assert read_seconds("SNAPSET_READ_SECONDS", 60.0) == 7.0


def test_what_is_said_goes_where_it_was_told_to_and_by_default_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    Retry().say("nobody hears this")
    Retry.from_environment(said.append).say("one")
    before = Retry(consistency=1, throttle=2, adoption=3, volume=4)
    before.saying(said.append).say("two")
    assert replace(before.saying(said.append), say=before.say) == before
    assert said == ["one", "two"]
    assert capfd.readouterr() == ("", "")


@given(st.sampled_from([*sorted(THROTTLE_CODES), None]), st.integers(1, 1000))
def test_a_pause_is_as_long_as_aws_asks_for_and_never_more_than_90_seconds(code: str | None, attempt: int) -> None:
    least = {
        "SnapshotCreationPerVolumeRateExceeded": 15,
        "ConcurrentSnapshotLimitExceeded": 60,
        "PendingSnapshotLimitExceeded": 60,
    }
    pause = throttle_pause(THROTTLE_CODES[code] if code else None, attempt)
    assert least.get(str(code), 0.5) <= pause <= (90 if code in least else 20)


def test_pauses_differ_so_that_many_do_not_come_back_at_once() -> None:
    for asked_for in THROTTLE_CODES.values():
        assert len({throttle_pause(asked_for, 3) for _ in range(20)}) > 10


def throttled(times: int, *, asks_for: float | None = 0.01) -> Callable[[], int]:
    """A call that AWS won't do so many times, and then does; it returns how often it was called."""
    calls: list[None] = []

    def call() -> int:
        calls.append(None)
        if len(calls) <= times:
            raise errors.ThrottledError(f"not now, {len(calls)}", code="RequestLimitExceeded", asks_for=asks_for)
        return len(calls)

    return call


def test_a_throttled_call_is_made_again_until_it_is_done_and_each_pause_is_said() -> None:
    said: list[str] = []
    assert Retry(say=said.append).while_throttled(throttled(3), doing="deleting snap-1") == 4
    assert said == ["deleting snap-1: RequestLimitExceeded: trying again in 0 s"] * 3


def test_a_call_that_stays_throttled_fails_with_the_last_answer() -> None:
    retry = Retry(throttle=0.05)
    with pytest.raises(errors.ThrottledError, match="not now"):
        retry.while_throttled(throttled(1000), doing="deleting snap-1")


def test_a_pause_that_is_longer_than_the_time_that_is_left_is_not_begun() -> None:
    said: list[str] = []
    began = time.monotonic()
    with pytest.raises(errors.ThrottledError, match="not now, 1"):
        Retry(throttle=5, say=said.append).while_throttled(throttled(1, asks_for=60), doing="deleting snap-1")
    assert time.monotonic() - began < 4
    assert said == []


def test_another_error_is_not_tried_again() -> None:
    def fail() -> None:
        calls.append(None)
        raise errors.NoAnswerError("no")

    calls: list[None] = []
    with pytest.raises(errors.NoAnswerError):
        Retry().while_throttled(fail, doing="deleting snap-1")
    assert len(calls) == 1


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
    assert parse_duration(text, name="--timeout") == seconds


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
def test_what_is_not_a_duration_is_quoted_with_an_example_and_the_name_of_the_option(text: str) -> None:
    with pytest.raises(errors.InputError) as caught:
        parse_duration(text, name="--timeout")
    assert str(caught.value) == f"reading --timeout: {text!r} is not a duration. Use 90s, 30m or 2h."


@given(st.integers(1, 10**9))
def test_a_number_of_seconds_written_in_units_is_read_back(seconds: int) -> None:
    minutes, rest = divmod(seconds, MINUTE)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = {"d": days, "h": hours, "m": minutes, "s": rest}
    assert (
        parse_duration("".join(f"{number}{unit}" for unit, number in parts.items()), name="wait_timeout") == seconds
    )
    assert (
        parse_duration("".join(f"{number}{unit}" for unit, number in parts.items() if number), name="wait_timeout")
        == seconds
    )
    assert (
        parse_duration(f"{seconds}", name="wait_timeout")
        == parse_duration(f"{seconds}s", name="wait_timeout")
        == seconds
    )


@given(st.text(alphabet="0123456789dhms. -", max_size=12))
def test_a_string_is_a_positive_number_of_seconds_or_an_input_error(text: str) -> None:
    try:
        seconds = parse_duration(text, name="--timeout")
    except errors.InputError:
        return
    assert 0 < seconds < float("inf")


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_that_is_too_large_is_no_duration(digits: int) -> None:
    with pytest.raises(errors.InputError):
        parse_duration("9" * digits, name="wait_timeout")


@pytest.mark.parametrize("text", ["1h30", "2d12"])
def test_a_number_without_a_unit_stands_alone(text: str) -> None:
    with pytest.raises(errors.InputError):
        parse_duration(text, name="--timeout")


@pytest.mark.parametrize("seconds", [0.0, 0.3, 4.0, 20.0, 61.7])
def test_the_last_look_is_made_when_the_time_is_up_and_not_before(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda pause: now.__setitem__(0, now[0] + pause))
    made = []
    for goes_on in looks(seconds):
        made.append((now[0], goes_on))
        # A look takes time, too.
        now[0] += 0.07
    *others, (last, follows) = made
    assert last >= seconds
    assert not follows
    assert all(goes_on and at < seconds for at, goes_on in others)
    assert all(later - earlier <= 5.1 for (earlier, _), (later, _) in itertools.pairwise(made))
