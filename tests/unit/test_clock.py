"""AWS's clock, as its answers tell it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from email.utils import format_datetime
from typing import Any

import pytest
from snapset.aws import clock


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = clock._Seen.ahead
    yield
    clock._Seen.ahead = before


def answer(*, seconds_ahead: float) -> dict[str, Any]:
    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds_ahead)
    return {"ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(then, usegmt=True)}}}


def off() -> float:
    return (clock.now() - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


@pytest.mark.parametrize("seconds", [-3600, -60, 0, 60, 86400])
def test_the_clock_is_that_of_the_latest_answer(seconds: float) -> None:
    clock.set_by(answer(seconds_ahead=7200))
    clock.set_by(answer(seconds_ahead=seconds))
    assert abs(off() - seconds) < 3
    started = clock.now() - datetime.timedelta(seconds=100)
    assert abs(clock.age_of(started.isoformat()) - 100) < 1


@pytest.mark.parametrize("date", [None, "", "soon", "2026-11-26"])
def test_an_answer_without_a_date_changes_nothing(date: str | None) -> None:
    clock.set_by(answer(seconds_ahead=500))
    clock.set_by({"ResponseMetadata": {"HTTPHeaders": {"date": date} if date is not None else {}}})
    assert abs(off() - 500) < 3


@pytest.mark.parametrize("written", ["{date} GMT, {date} GMT", "{date} -0000", "{date} +0000"])
def test_a_date_that_a_proxy_wrote_again_is_read(written: str) -> None:
    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=300)
    date = written.format(date=then.strftime("%a, %d %b %Y %H:%M:%S"))
    clock.set_by({"ResponseMetadata": {"HTTPHeaders": {"date": date}}})
    assert abs(off() - 300) < 3
