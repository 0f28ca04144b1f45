"""One embedded EC2 per test worker, reset before each test, and real boto3 clients for it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from snapset.emulator.client import EmbeddedEC2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_SECONDS = 30


@pytest.fixture(scope="session")
def ec2_server() -> Iterator[EmbeddedEC2]:
    with EmbeddedEC2() as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(ec2_server: EmbeddedEC2) -> None:
    ec2_server.reset()


@pytest.fixture(scope="session")
def ec2(ec2_server: EmbeddedEC2) -> Any:
    """A client that tries each call once."""
    return ec2_server.ec2()


@pytest.fixture(scope="session")
def retrying(ec2_server: EmbeddedEC2) -> Any:
    """A client with boto3's default retries."""
    return ec2_server.ec2(retries=True)


@pytest.fixture
def refused() -> Any:
    """`with refused(CODE, "word", ...)`: the block must raise EC2's error with this code and these words."""

    @contextmanager
    def expect(code: str, *words: str, status: int = 400) -> Iterator[None]:
        with pytest.raises(ClientError) as caught:
            yield
        answer: Any = caught.value.response
        assert answer["Error"]["Code"] == code
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
        assert all(word in answer["Error"]["Message"] for word in words), answer["Error"]["Message"]

    return expect


@pytest.fixture
def eventually() -> Any:
    """Call `ask` until its answer is wanted, and return the answer; fail after the deadline."""

    def poll(ask: Callable[[], Any], wanted: Callable[[Any], bool] = bool) -> Any:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            answer = ask()
            if wanted(answer):
                return answer
            assert time.monotonic() < deadline, f"still {answer}"

    return poll
