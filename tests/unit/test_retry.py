"""How long snapset repeats a call, and what `--timeout` and `wait_timeout` take."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset import errors
from snapset.aws.errors import THROTTLE_CODES
from snapset.durations import parse_duration
from snapset.limits import Limits
from snapset.retry import polls, throttle_pause, while_throttled

MINUTE, HOUR, DAY = 60, 3600, 86400

VARIABLES = {
    "consistency": "SNAPSET_CONSISTENCY_SECONDS",
    "throttle": "SNAPSET_THROTTLE_SECONDS",
    "late": "SNAPSET_LATE_SECONDS",
    "adoption": "SNAPSET_ADOPTION_SECONDS",
    "volume": "SNAPSET_VOLUME_SECONDS",
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


def test_without_variables_and_with_empty_ones_it_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Limits.from_environment() == Limits()
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, "")
    assert Limits.from_environment() == Limits()


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("1.5", 1.5), (" 90 ", 90.0), ("1e3", 1000.0)])
def test_every_variable_sets_its_own_time(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, seconds: float
) -> None:
    monkeypatch.setenv(VARIABLES[name], text)
    changed: dict[str, Any] = {name: seconds}
    assert Limits.from_environment() == Limits(**changed)


@pytest.mark.parametrize("variable", VARIABLES.values())
@pytest.mark.parametrize("text", ["soon", "5m", "1,5", "--1", "nan", "-1"])
def test_a_variable_that_is_no_number_is_an_input_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(errors.InputError) as caught:
        Limits.from_environment()
    assert str(caught.value) == f"reading {variable}: {text!r} is not a number of seconds."


def test_what_is_missing_may_be_invisible_while_it_is_young() -> None:
    assert Limits(consistency=100).may_be_invisible(1)
    assert not Limits(consistency=100).may_be_invisible(200)
    assert not Limits(consistency=0).may_be_invisible(1)


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
    assert while_throttled(throttled(3), doing="deleting snap-1", seconds=60, say=said.append) == 4
    assert said == ["deleting snap-1: RequestLimitExceeded: trying again in 0 s"] * 3


def test_a_call_that_stays_throttled_fails_with_the_last_answer() -> None:
    with pytest.raises(errors.ThrottledError, match="not now"):
        while_throttled(throttled(1000), doing="deleting snap-1", seconds=0.05)


def test_a_call_that_stays_throttled_is_repeated_for_longer_while_the_run_makes_progress() -> None:
    class TwoMore:
        asked = 0

        def goes_on(self) -> bool:
            self.asked += 1
            return self.asked <= 2

    said: list[str] = []
    progress = TwoMore()
    with pytest.raises(errors.ThrottledError):
        while_throttled(throttled(1000), doing="deleting snap-1", seconds=0.05, say=said.append, progress=progress)
    assert progress.asked == 3
    assert len([text for text in said if text.endswith("make progress: waiting for as long again")]) == 2


def test_however_long_a_pause_aws_asks_for_the_last_attempt_comes_when_the_time_is_up() -> None:
    began = time.monotonic()
    assert while_throttled(throttled(1, asks_for=60), doing="deleting snap-1", seconds=0.3) == 2
    with pytest.raises(errors.ThrottledError, match="not now, 2"):
        while_throttled(throttled(1000, asks_for=60), doing="deleting snap-1", seconds=0.3)
    assert time.monotonic() - began < 10


def test_another_error_is_not_tried_again() -> None:
    def fail() -> None:
        calls.append(None)
        raise errors.NoAnswerError("no")

    calls: list[None] = []
    with pytest.raises(errors.NoAnswerError):
        while_throttled(fail, doing="deleting snap-1", seconds=60)
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
        "1h30",
        "2d12",
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


@pytest.mark.parametrize("seconds", [0.0, 0.3, 4.0, 20.0, 61.7])
def test_the_last_poll_is_made_when_the_time_is_up_and_not_before(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda pause: now.__setitem__(0, now[0] + pause))
    made = []
    for goes_on in polls(seconds):
        made.append((now[0], goes_on))
        # A poll takes time, too.
        now[0] += 0.07
    *others, (last, follows) = made
    assert last >= seconds
    assert not follows
    assert all(goes_on and at < seconds for at, goes_on in others)
    assert all(later - earlier <= 5.1 for (earlier, _), (later, _) in itertools.pairwise(made))
