"""How long snapset goes on trying, and how old is too old."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset import errors
from snapset.retry import Patience, age_of, may_be_invisible, throttle_pause

VARIABLES = {
    "consistency": "SNAPSET_CONSISTENCY_SECONDS",
    "throttle": "SNAPSET_THROTTLE_SECONDS",
    "adoption": "SNAPSET_ADOPTION_SECONDS",
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


def started(*, seconds_ago: float) -> str:
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds_ago)
    return then.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def test_without_variables_it_is_the_default() -> None:
    assert Patience.from_environment() == Patience()


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("1.5", 1.5), (" 90 ", 90.0), ("1e3", 1000.0)])
def test_each_variable_sets_its_own_patience(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, seconds: float
) -> None:
    monkeypatch.setenv(VARIABLES[name], text)
    assert Patience.from_environment() == Patience(**{name: seconds})


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(VARIABLES[name], "")
    assert Patience.from_environment() == Patience()


@pytest.mark.parametrize("variable", VARIABLES.values())
@pytest.mark.parametrize("text", ["soon", "5m", "1,5", "--1"])
def test_a_variable_that_is_no_number_is_an_input_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(errors.InputError) as caught:
        Patience.from_environment()
    assert str(caught.value) == f"reading {variable}: {text!r} is not a number of seconds."


@pytest.mark.parametrize("text", ["nan", "-1"])
def test_a_number_that_is_no_time_is_an_input_error(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SNAPSET_CONSISTENCY_SECONDS", text)
    with pytest.raises(errors.InputError):
        Patience.from_environment()


@given(st.integers(0, 10**8))
def test_an_age_is_the_time_since_the_start(seconds: int) -> None:
    assert seconds <= age_of(started(seconds_ago=seconds)) < seconds + 10


def test_an_age_does_not_depend_on_how_the_zone_is_written() -> None:
    there = age_of("2026-01-01T01:00:00.000+01:00")
    assert abs(there - age_of("2026-01-01T00:00:00Z")) < 10
    assert abs(there - age_of("2026-01-01T00:00:00.000Z")) < 10


def test_what_is_missing_may_be_invisible_while_it_is_young(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPSET_CONSISTENCY_SECONDS", "100")
    assert may_be_invisible(started(seconds_ago=1))
    assert not may_be_invisible(started(seconds_ago=200))
    monkeypatch.setenv("SNAPSET_CONSISTENCY_SECONDS", "0")
    assert not may_be_invisible(started(seconds_ago=1))


@given(st.sampled_from([*sorted(errors.THROTTLE_CODES), None]), st.integers(1, 1000))
def test_a_pause_is_as_long_as_aws_asks_for_and_never_more_than_90_seconds(code: str | None, attempt: int) -> None:
    least = {
        "SnapshotCreationPerVolumeRateExceeded": 15,
        "ConcurrentSnapshotLimitExceeded": 60,
        "PendingSnapshotLimitExceeded": 60,
    }
    assert least.get(str(code), 0.5) <= throttle_pause(code, attempt) <= (90 if code in least else 20)


def test_pauses_differ_so_that_many_do_not_come_back_at_once() -> None:
    for code in errors.THROTTLE_CODES:
        assert len({throttle_pause(code, 3) for _ in range(20)}) > 10
