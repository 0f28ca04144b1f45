"""`Poller`: everyone who waits is served by one request a tick; and `run_in_thread` beneath it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Snapshot
from snapset.emulator.client import EmbeddedEC2
from snapset.sets import wait as waiting
from snapset.sets.inputs import SetInputs
from snapset.sets.threads import run_in_thread
from snapset.sets.wait import Poller, poller_for

SET = "set-0123456789abcdef0"
GONE = "snap-0123456789abcdef0"
DEADLINE = 20.0

T = TypeVar("T")


def run(main: Callable[[], Awaitable[T]]) -> T:
    async def until_deadline() -> T:
        return await asyncio.wait_for(main(), DEADLINE)

    return asyncio.run(until_deadline())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_SHORTEST_PAUSE", 0.05)
    monkeypatch.setattr(waiting, "_LONGEST_PAUSE", 0.05)


@pytest.fixture
def sets(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> list[list[str]]:
    """The snapshots of five sets."""
    made = [[snapshot.snapshot_id for snapshot in aws.create_snapshots(inputs.request(set_id=SET))] for _ in range(5)]
    ec2.clear_calls()
    return made


def ids_of(snapshots: Iterable[Snapshot]) -> list[str]:
    return [snapshot.snapshot_id for snapshot in snapshots]


def test_all_who_wait_are_served_by_one_request_and_every_one_sees_its_own(
    aws: Ec2, ec2: EmbeddedEC2, sets: list[list[str]]
) -> None:
    async def main() -> list[list[Snapshot]]:
        poller = Poller(aws)
        return await asyncio.gather(*(poller.poll(wanted) for wanted in sets * 20))

    assert [ids_of(seen) for seen in run(main)] == sets * 20
    assert len(ec2.calls("DescribeSnapshots")) == 1


def test_those_who_poll_again_and_again_share_every_tick(aws: Ec2, ec2: EmbeddedEC2, sets: list[list[str]]) -> None:
    async def poll_five_times(poller: Poller, ids: list[str]) -> None:
        for _ in range(5):
            assert ids_of(await poller.poll(ids)) == ids

    async def main() -> None:
        poller = Poller(aws)
        await asyncio.gather(*(poll_five_times(poller, wanted) for wanted in sets * 4))

    run(main)
    assert len(ec2.calls("DescribeSnapshots")) == 5


def test_what_ec2_can_not_see_is_left_out(aws: Ec2, sets: list[list[str]]) -> None:
    [ids, *_] = sets
    assert ids_of(run(lambda: Poller(aws).poll([GONE, *ids]))) == ids
    assert ids_of(run(lambda: Poller(aws).poll([ids[2], ids[0]]))) == [ids[2], ids[0]]
    assert run(lambda: Poller(aws).poll([GONE])) == []


def test_a_failed_request_fails_for_everyone_and_the_next_poll_asks_again(
    aws: Ec2, ec2: EmbeddedEC2, sets: list[list[str]]
) -> None:
    ec2.fault(action="DescribeSnapshots", kind="error", code="UnauthorizedOperation")

    async def main() -> tuple[list[list[Snapshot] | BaseException], list[Snapshot]]:
        poller = Poller(aws)
        failed = await asyncio.gather(*(poller.poll(wanted) for wanted in sets), return_exceptions=True)
        return failed, await poller.poll(sets[0])

    failed, seen = run(main)
    assert [type(error) for error in failed] == [errors.NotPermittedError] * 5
    assert ids_of(seen) == sets[0]
    assert len(ec2.calls("DescribeSnapshots")) == 2


def test_one_who_gives_up_does_not_take_the_others_with_him(aws: Ec2, sets: list[list[str]]) -> None:
    async def main() -> None:
        poller = Poller(aws)
        first, second = (asyncio.create_task(poller.poll(wanted)) for wanted in sets[:2])
        await asyncio.sleep(0)
        first.cancel()
        assert ids_of(await second) == sets[1]
        assert ids_of(await poller.poll(sets[2])) == sets[2]

    run(main)


def test_all_waits_of_a_program_on_one_ec2_share_one_poller(aws: Ec2) -> None:
    other = Ec2(aws.settings.in_region("us-west-2"), aws.limits)

    async def main() -> Poller:
        assert poller_for(aws) is poller_for(aws)
        assert poller_for(aws) is not poller_for(other)
        return poller_for(aws)

    assert run(main) is not run(main)


def test_a_thread_gives_back_its_result_while_the_loop_goes_on() -> None:
    go_on = threading.Event()

    async def main() -> tuple[bool, str]:
        waited = asyncio.create_task(run_in_thread(lambda: go_on.wait(DEADLINE)))
        name = await run_in_thread(lambda: threading.current_thread().name)
        go_on.set()
        return await waited, name

    waited, name = run(main)
    assert waited
    assert name != threading.current_thread().name


@pytest.mark.parametrize("error", [errors.NoAnswerError("no"), ValueError("no"), KeyboardInterrupt()])
def test_a_thread_gives_back_what_it_raises(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def main() -> BaseException:
        with pytest.raises(type(error)) as caught:
            await run_in_thread(fail)
        return caught.value

    assert run(main) is error


def test_an_interrupted_program_does_not_wait_for_its_threads() -> None:
    go_on, threads = threading.Event(), []

    def block() -> None:
        threads.append(threading.current_thread())
        go_on.wait(DEADLINE)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(run_in_thread(block), 0.05)
        assert threads[0].daemon
        assert threads[0].is_alive()
        go_on.set()
        await run_in_thread(lambda: threads[0].join(DEADLINE))

    run(main)


def test_a_thread_that_ends_after_its_program_ends_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, threads, raised = threading.Event(), [], []
    monkeypatch.setattr(threading, "excepthook", lambda failure: raised.append(failure.exc_value))

    def block() -> None:
        threads.append(threading.current_thread())
        go_on.wait(DEADLINE)

    async def main() -> None:
        task = asyncio.create_task(run_in_thread(block))
        while not threads:
            await asyncio.sleep(0)
        task.cancel()

    run(main)
    go_on.set()
    threads[0].join(DEADLINE)
    gc.collect()
    assert raised == []
