"""Which cases of a long test `make test` runs: the same ones on every machine, and in every worker."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable

# `make soak` sets it: every case of the long tests, and each race in many rounds.
SOAK = os.environ.get("SNAPSET_SOAK") == "1"
ONE_IN = 5


def sample_of(names: Iterable[str]) -> set[str]:
    """Return one in five of the cases, by the hash of their names, and of each row and column at least one.

    Rows and columns are the parts of a case's name, without numbers after `#`: `[claim.CreateTags.1-engine-after]` is
    in three, and so is `[DescribeVolumes#2-after-AttachVolume#3]`.
    """
    drawn = sorted(names, key=_hash_of)
    sample = {name for name in drawn if _hash_of(name) % ONE_IN == 0}
    seen = {part for name in sample for part in _parts_of(name)}
    for name in drawn:
        if not _parts_of(name) <= seen:
            sample.add(name)
            seen |= _parts_of(name)
    return sample


def _parts_of(name: str) -> set[tuple[int, str]]:
    case = re.sub(r"#\d+", "", name.partition("[")[2].removesuffix("]"))
    return set(enumerate(case.split("-")))


def _hash_of(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16)
