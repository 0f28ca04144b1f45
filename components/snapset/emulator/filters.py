"""DescribeSnapshots: owners, filters with wildcards, pages, and snapshots that are not visible yet.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import errors
from .snapshots import StrictSnapshot

MIN_RESULTS = 5
# Asking for more is no error: the reference says that EC2 then returns this many.
MAX_RESULTS = 1000

_ACCOUNT_ID = re.compile(r"\d{12}")
_OWNER_ALIASES = ("self", "amazon", "aws-marketplace")

_VALUES: dict[str, Callable[[StrictSnapshot], str]] = {
    "description": lambda snapshot: str(snapshot.description),
    "encrypted": lambda snapshot: str(bool(snapshot.encrypted)).lower(),
    "owner-alias": lambda snapshot: "",
    "owner-id": lambda snapshot: str(snapshot.owner_id),
    "progress": lambda snapshot: snapshot.progress,
    "snapshot-id": lambda snapshot: str(snapshot.id),
    "start-time": lambda snapshot: snapshot.start_time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
    "status": lambda snapshot: snapshot.status,
    "storage-tier": lambda snapshot: str(snapshot.storage_tier),
    "transfer-type": lambda snapshot: "",
    "volume-id": lambda snapshot: str(snapshot.volume_id),
    "volume-size": lambda snapshot: str(snapshot.volume_size),
}


def describe_snapshots(backend: Any, params: Mapping[str, Any]) -> tuple[list[StrictSnapshot], str | None]:
    """One page of the matching snapshots, and the token of the next page."""
    snapshot_ids: list[str] = params.get("SnapshotIds") or []
    max_results = params.get("MaxResults")
    if max_results is not None:
        if snapshot_ids:
            raise errors.invalid_combination("The parameter snapshotSet cannot be used with the parameter maxResults")
        if max_results < MIN_RESULTS:
            raise errors.invalid_value(
                f"Value ( {max_results} ) for parameter maxResults is invalid. "
                f"Expecting a value greater than {MIN_RESULTS}."
            )
    matches = _compile_filters(params.get("Filters") or [])
    candidates = _find_named(backend, snapshot_ids) if snapshot_ids else _find_visible(backend)
    owners, restorers = params.get("OwnerIds") or [], params.get("RestorableByUserIds") or []
    _check_accounts(owners)
    candidates = [
        snapshot
        for snapshot in candidates
        if _is_owned_by(snapshot, owners, backend.account_id)
        and _is_restorable_by(snapshot, restorers, backend.account_id)
    ]
    page, token = _cut_page(candidates, max_results, params.get("NextToken"))
    return [snapshot for snapshot in page if matches(snapshot)], token


def _find_named(backend: Any, snapshot_ids: Sequence[str]) -> list[StrictSnapshot]:
    found: list[StrictSnapshot] = []
    for snapshot_id in snapshot_ids:
        snapshot = backend.get_snapshot(snapshot_id)
        if not snapshot.is_visible:
            raise errors.snapshot_not_found(snapshot_id)
        if snapshot not in found:
            found.append(snapshot)
    return found


def _find_visible(backend: Any) -> list[StrictSnapshot]:
    return sorted(
        (snapshot for snapshot in backend.snapshots.values() if snapshot.is_visible),
        key=lambda snapshot: snapshot.serial,
    )


def _check_accounts(owners: Sequence[str]) -> None:
    for owner in owners:
        if owner not in _OWNER_ALIASES and not _ACCOUNT_ID.fullmatch(owner):
            raise errors.EC2Error("InvalidUserID.Malformed", f'Invalid user id: "{owner}"')


def _is_owned_by(snapshot: StrictSnapshot, owners: Sequence[str], account_id: str) -> bool:
    return not owners or snapshot.owner_id in [account_id if owner == "self" else owner for owner in owners]


def _is_restorable_by(snapshot: StrictSnapshot, users: Sequence[str], account_id: str) -> bool:
    if not users:
        return True
    allowed = {snapshot.owner_id} | snapshot.create_volume_permission_userids
    allowed |= snapshot.create_volume_permission_groups
    return any((account_id if user == "self" else user) in allowed for user in users)


def _cut_page(
    candidates: list[StrictSnapshot], max_results: int | None, token: str | None
) -> tuple[list[StrictSnapshot], str | None]:
    # EC2 cuts pages before it filters: a page can have fewer results than requested, even none, and still a token
    # (https://github.com/boto/boto3/issues/1776).
    after = read_token(token) if token else 0
    rest = [snapshot for snapshot in candidates if snapshot.serial > after]
    if max_results is None:
        return rest, None
    page = rest[: min(max_results, MAX_RESULTS)]
    return page, make_token(page[-1].serial) if len(rest) > len(page) else None


def make_token(serial: int) -> str:
    """The token of a page that begins after this one."""
    return base64.urlsafe_b64encode(f"after:{serial}".encode()).decode()


def read_token(token: str) -> int:
    """After which one a page begins; raises EC2's error if the token is not one of these."""
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    position = re.fullmatch(r"after:(\d+)", text)
    if not position:
        raise errors.EC2Error("InvalidPaginationToken", "The specified pagination token is invalid or expired.")
    return int(position.group(1))


def _compile_filters(filters: Sequence[Mapping[str, Any]]) -> Callable[[StrictSnapshot], bool]:
    tests = [_compile_filter(entry.get("Name") or "null", entry.get("Values") or []) for entry in filters]
    return lambda snapshot: all(test(snapshot) for test in tests)


def _compile_filter(name: str, values: Sequence[str]) -> Callable[[StrictSnapshot], bool]:
    patterns = [_compile_wildcards(value) for value in values]

    def accepts(candidates: Sequence[str]) -> bool:
        return any(pattern.fullmatch(candidate) for pattern in patterns for candidate in candidates)

    def tags_of(snapshot: StrictSnapshot) -> Mapping[str, str]:
        tags: Mapping[str, str] = snapshot.ec2_backend.tags.get(snapshot.id, {})
        return tags

    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda snapshot: key in tags_of(snapshot) and accepts([tags_of(snapshot)[key]])
    if name == "tag-key":
        return lambda snapshot: accepts(list(tags_of(snapshot)))
    if name not in _VALUES:
        raise errors.invalid_value(f"The filter '{name}' is invalid")
    value_of = _VALUES[name]
    return lambda snapshot: accepts([value_of(snapshot)])


def _compile_wildcards(pattern: str) -> re.Pattern[str]:
    r"""EC2's wildcards: `*` matches any characters, `?` one; `\*`, `\?` and `\\` are literal."""
    parts = re.findall(r"\\[*?\\]|[*?]|[^*?\\]+|\\", pattern)
    wildcards = {"*": ".*", "?": "."}
    escaped = {"\\*", "\\?", "\\\\"}
    return re.compile(
        "".join(wildcards.get(part) or re.escape(part[1:] if part in escaped else part) for part in parts), re.DOTALL
    )
