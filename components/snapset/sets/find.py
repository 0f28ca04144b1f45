"""Find sets by the tags of their snapshots: no state and no engine needed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from snapset.aws.ec2 import Ec2
from snapset.errors import NotFoundError
from snapset.retry import Retry
from snapset.sets import tags
from snapset.sets.model import SnapshotSet, group


def find_sets(ec2: Ec2, filters: Mapping[str, Iterable[str]], *, retry: Retry) -> list[SnapshotSet]:
    """Return the account's sets that match all filters of DescribeSnapshots, the newest first.

    Raises:
        SnapsetError: the answer of AWS.
    """
    wanted = {"tag-key": [tags.SET], **filters}
    doing = f"describing snapshots in {ec2.settings.region}"
    return group(retry.while_throttled(lambda: ec2.find_snapshots(wanted), doing=doing))


def find_set(ec2: Ec2, set_id: str, *, retry: Retry, wait: float = 0) -> SnapshotSet:
    """Return the set of this id.

    Args:
        ec2: where.
        set_id: `set-` and 17 hex digits.
        retry: how long to go on trying.
        wait: for how many seconds to wait for a young set that is not visible yet, or not as a whole.

    Raises:
        NotFoundError: there is no such set.
        SnapsetError: the answer of AWS.
    """
    give_up = time.monotonic() + min(wait, retry.consistency)
    pause = 0.5
    while True:
        found = find_sets(ec2, {f"tag:{tags.SET}": [set_id]}, retry=retry)
        may_grow = not found or (len(found[0].snapshots) != found[0].count and retry.may_be_invisible(found[0].age))
        if not may_grow or time.monotonic() + pause > give_up:
            break
        time.sleep(pause)
        pause = min(pause * 2, 5.0)
    if not found:
        raise NotFoundError(
            f"looking for {set_id}: no snapshot in {ec2.settings.region} has the tag {tags.SET} with this value. "
            "Check the id, the Region and the account."
        )
    return found[0]
