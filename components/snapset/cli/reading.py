"""`snapset list`, `show` and `wait`: look the sets up by their tags, and show them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from snapset import errors
from snapset.cli.output import Say, error_record, print_json, print_list, print_sets, progress
from snapset.retry import Patience, may_be_invisible, parse_duration
from snapset.sets import tags
from snapset.sets.inputs import INSTANCE_ID, REGION, matches

if TYPE_CHECKING:
    from snapset.aws.ec2 import Ec2, Snapshot
    from snapset.sets.model import TaggedSet

# DescribeSnapshots takes at most so many values a filter.
_MAX_INSTANCES = 200


def run_list(instances: Sequence[str], *, region: str | None, profile: str | None, as_json: bool) -> None:
    """Print the sets of these instances, or of all, the newest first.

    Raises:
        InputError: the input can't be right; nothing was called.
        SnapsetError: the answer of AWS.
    """
    filters = filters_of(instances)
    with answering(as_json=as_json) as document, progress("looking for sets") as say:
        from snapset.sets.prune import find_sets

        ec2 = connect_to(region, profile)
        document["sets"] = [record_of(each, ec2) for each in find_sets(ec2, filters, say=say)]
    if not as_json:
        print_list(document["sets"])


def run_show(set_id: str, *, region: str | None, profile: str | None, as_json: bool) -> None:
    """Print the set with its snapshots.

    Raises:
        NotFoundError: there is no such set.
        SnapsetError: the input can't be right, or the answer of AWS.
    """
    _check("SET_ID", set_id, tags.SET_ID, "the id of a set", "set-0123456789abcdef0")
    with answering(as_json=as_json) as document, progress(f"looking for {set_id}") as say:
        ec2 = connect_to(region, profile)
        document["sets"] = [record_of(_find_one(ec2, set_id, say=say), ec2)]
    if not as_json:
        print_sets(document["sets"])


def run_wait(set_id: str, *, timeout: str, region: str | None, profile: str | None, as_json: bool) -> None:
    """Wait until the set has completed, and print it.

    Raises:
        NotFoundError: there is no such set.
        SetFailedError: AWS set it to `error`, or a part of it was deleted.
        WaitTimeoutError: the time is up; the snapshots go on.
        SnapsetError: the input can't be right, or the answer of AWS.
    """
    _check("SET_ID", set_id, tags.SET_ID, "the id of a set", "set-0123456789abcdef0")
    seconds = parse_duration(timeout)
    with answering(as_json=as_json) as document, progress(f"looking for {set_id}") as say:
        ec2 = connect_to(region, profile)
        found = _find_one(ec2, set_id, say=say, patient_for=seconds)

        def keep(seen: TaggedSet) -> None:
            document["sets"] = [record_of(seen, ec2)]

        keep(found)
        asyncio.run(_wait(ec2, found, keep=keep, timeout=seconds, say=say))
    if not as_json:
        print_sets(document["sets"])


@contextmanager
def answering(*, as_json: bool) -> Iterator[dict[str, Any]]:
    """Collect the one document of a `--json` run, and print it however the run ends."""
    document: dict[str, Any] = {"sets": []}
    try:
        yield document
    except errors.SnapsetError as error:
        document["error"] = error_record(error)
        raise
    finally:
        if as_json:
            print_json(document)


def connect_to(region: str | None, profile: str | None) -> Ec2:
    """Return the EC2 of this Region, or of the one that the profile or the environment names.

    Raises:
        InputError: the Region is none, or no Region is set anywhere.
    """
    from snapset.aws.ec2 import connect
    from snapset.aws.session import AwsSettings, find_region

    if region is not None:
        _check("--region", region, REGION, "a Region", "us-east-1")
    settings = AwsSettings(region=region, profile=profile)
    return connect(settings.in_region(find_region(settings)))


def filters_of(instances: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the filters of DescribeSnapshots for the sets of these instances, or of all if there are none.

    Raises:
        InputError: one is not an instance id, or there are more than AWS takes.
    """
    for instance_id in instances:
        _check("--instance", instance_id, INSTANCE_ID, "an instance id", "i-0123456789abcdef0")
    if len(instances) > _MAX_INSTANCES:
        raise errors.InputError(f"reading --instance: {len(instances)} are too many; give at most {_MAX_INSTANCES}.")
    return {f"tag:{tags.INSTANCE}": instances} if instances else {}


def record_of(found: TaggedSet, ec2: Ec2) -> dict[str, Any]:
    """Return the set as `--json` documents have it."""
    return found.record(region=str(ec2.settings.region))


def _check(name: str, value: str, pattern: re.Pattern[str], what: str, example: str) -> None:
    if reason := matches(pattern, what, example)(value):
        raise errors.InputError(f"reading {name}: {reason}.")


def _find_one(ec2: Ec2, set_id: str, *, say: Say, patient_for: float = 0) -> TaggedSet:
    """Find the set; one that is only just taken may take a while to be seen, or to be seen as a whole."""
    from snapset.sets.prune import find_sets

    give_up = time.monotonic() + min(patient_for, Patience.from_environment().consistency)
    pause = 0.5
    while True:
        found = find_sets(ec2, {f"tag:{tags.SET}": [set_id]}, say=say)
        may_grow = not found or (len(found[0].snapshots) != found[0].count and may_be_invisible(found[0].start_time))
        if not may_grow or time.monotonic() + pause > give_up:
            break
        time.sleep(pause)
        pause = min(pause * 2, 5.0)
    if not found:
        raise errors.NotFoundError(
            f"looking for {set_id}: no snapshot in {ec2.settings.region} has the tag {tags.SET} with this value. "
            "Check the id, the Region and the account."
        )
    return found[0]


async def _wait(ec2: Ec2, found: TaggedSet, *, keep: Callable[[TaggedSet], None], timeout: float, say: Say) -> None:
    from snapset.sets.model import INCOMPLETE
    from snapset.sets.wait import poller_for, wait_for_set

    latest, poller = found, poller_for(ec2)

    async def look(snapshot_ids: Sequence[str]) -> dict[str, Snapshot]:
        nonlocal latest
        seen = await poller.look(snapshot_ids)
        there = tuple(seen[each] for each in snapshot_ids if each in seen)
        if there:
            latest = replace(found, snapshots=there)
            keep(latest)
        return seen

    seen = await wait_for_set(
        look,
        set_id=found.set_id,
        snapshot_ids=found.snapshot_ids,
        start_time=found.start_time,
        seen={each.snapshot_id: each for each in found.snapshots},
        timeout=timeout,
        report=say,
    )
    if len(seen) < len(found.snapshots) or latest.state == INCOMPLETE:
        taken = found.count or len(found.snapshots)
        raise errors.SetFailedError(
            f"waiting for {found.set_id}: {taken - len(seen)} of its {taken} snapshots no longer exist. "
            "There is no whole backup: take a new set."
        )
