"""EBS direct: lists and reads the blocks of completed snapshots.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-accessing-snapshot.html
"""

import hashlib
import hmac
import re
import secrets
import struct
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ebs import urls
from moto.ebs.responses import EBSResponse
from moto.ec2.models import ec2_backends

from .content import BLOCK_SIZE
from .life import COMPLETED
from .snapshots import ARCHIVE, StrictSnapshot
from .world import WORLD

_MAX_RESULTS = (100, 10_000)
# Tokens that are valid forever need an ExpiryTime, too.
_LONGEST_SECONDS = timedelta(days=36_500).total_seconds()

# A token is a time and a block's index, with a seal that only this process can make.
_TOKEN = struct.Struct(">dq")
_KEY = secrets.token_bytes(32)


class DirectError(ServiceException):  # type: ignore[misc]
    """An error as EBS direct answers it: a code, and a Reason that says more."""

    def __init__(self, code: str, reason: str, message: str) -> None:
        super().__init__(code, message)
        self.reason = reason


class StrictEBSResponse(EBSResponse):  # type: ignore[misc]
    """The answers to one request; moto's own snapshots of EBS direct are not those of EC2."""

    def list_snapshot_blocks(self) -> ActionResult:
        """ListSnapshotBlocks."""
        snapshot = self._find_snapshot(self._get_param("SnapshotId"))
        page, token = self._read_page(sorted(snapshot.blocks), snapshot.id)
        blocks = [{"BlockIndex": index, "BlockToken": _make_token(index, snapshot.id)} for index in page]
        return ActionResult({"Blocks": blocks, "NextToken": token, **_describe(snapshot)})

    def list_changed_blocks(self) -> ActionResult:
        """ListChangedBlocks."""
        first_id = self._get_param("FirstSnapshotId")
        if not first_id:
            raise _invalid("INVALID_PARAMETER_VALUE", "FirstSnapshotId and SecondSnapshotId must both be specified.")
        first, second = self._find_snapshot(first_id), self._find_snapshot(self._get_param("SecondSnapshotId"))
        if first.volume.id != second.volume.id:
            # assumption: the reference does not say which snapshots are related; those of one volume are.
            raise _invalid("UNRELATED_SNAPSHOTS", f"{first.id} and {second.id} are not of the same volume.")
        indexes = sorted(first.blocks.keys() | second.blocks.keys())
        changed = [index for index in indexes if first.blocks.get(index) != second.blocks.get(index)]
        page, token = self._read_page(changed, first.id, second.id)
        blocks = [
            {"BlockIndex": index}
            | {
                f"{name}BlockToken": _make_token(index, snapshot.id)
                for name, snapshot in (("First", first), ("Second", second))
                if index in snapshot.blocks
            }
            for index in page
        ]
        return ActionResult({"ChangedBlocks": blocks, "NextToken": token, **_describe(second)})

    def get_snapshot_block(self) -> ActionResult:
        """GetSnapshotBlock."""
        snapshot = self._find_snapshot(self._get_param("SnapshotId"))
        index, issued = _read_token(self._get_param("BlockToken"), snapshot.id)
        if index != int(self._get_param("BlockIndex")):
            raise _invalid("INVALID_BLOCK_TOKEN", "The block token is not valid for this block.")
        if WORLD.now() - issued >= WORLD.settings.block_token_seconds:
            # assumption: the reference has no code for an expired token but that of an invalid one.
            raise _invalid("INVALID_BLOCK_TOKEN", "The block token has expired.")
        data = snapshot.blocks[index]
        checksum = b64encode(hashlib.sha256(data).digest()).decode()
        return ActionResult(
            {"BlockData": data, "DataLength": len(data), "Checksum": checksum, "ChecksumAlgorithm": "SHA256"}
        )

    def start_snapshot(self) -> ActionResult:
        """StartSnapshot, and the other calls that write: moto would make a snapshot without content."""
        raise NotImplementedError("The embedded EC2 reads snapshots with EBS direct, and writes none.")

    put_snapshot_block = complete_snapshot = start_snapshot

    def _find_snapshot(self, snapshot_id: str) -> StrictSnapshot:
        """The snapshot, if EBS direct can read it for this account."""
        if not re.fullmatch("snap-[0-9a-f]+", snapshot_id):
            raise _invalid("INVALID_SNAPSHOT_ID", f"The snapshot ID '{snapshot_id}' is not valid.")
        accounts = (backend for _, region, backend in ec2_backends.iter_backends() if region == self.region)
        found = (account.snapshots.get(snapshot_id) for account in accounts)
        snapshot: StrictSnapshot | None = next(filter(None, found), None)
        if snapshot is None:
            raise DirectError(
                "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", f"The snapshot '{snapshot_id}' does not exist."
            )
        if self.current_account not in (snapshot.owner_id, *snapshot.create_volume_permission_userids):
            # A public snapshot can't be read either.
            raise DirectError(
                "AccessDeniedException",
                "UNAUTHORIZED_ACCOUNT",
                f"The account {self.current_account} is not authorized to access the snapshot '{snapshot_id}'.",
            )
        # assumption: the user guide says that these can't be read; no code is documented.
        if snapshot.status != COMPLETED:
            raise _invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{snapshot_id}' is not completed.")
        if snapshot.storage_tier == ARCHIVE:
            raise _invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{snapshot_id}' is archived.")
        if snapshot.outpost_arn:
            raise _invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{snapshot_id}' is stored on an Outpost.")
        return snapshot

    def _read_page(self, indexes: Sequence[int], *snapshot_ids: str) -> tuple[Sequence[int], str | None]:
        """The blocks of the page that is asked for, and the token of the next one."""
        least, most = _MAX_RESULTS
        # assumption: the reference names no default. With the least, callers have to read pages.
        size = self._get_param("MaxResults", least)
        if size > most:
            raise _invalid("INVALID_PARAMETER_VALUE", f"MaxResults must be at most {most}.")
        begin = self._get_param("StartingBlockIndex", 0)
        if token := self._get_param("NextToken"):
            begin, _ = _read_token(token, "page", *snapshot_ids)
            if begin is None:
                raise _invalid("INVALID_PAGE_TOKEN", "The page token is not valid.")
        rest = [index for index in indexes if index >= begin]
        # The user guide: who asks for fewer gets the least.
        page, later = rest[: max(size, least)], rest[max(size, least) :]
        return page, _make_token(later[0], "page", *snapshot_ids) if later else None


def install() -> None:
    """Make moto answer with these responses. Call it before the first request."""
    urls.url_paths = dict.fromkeys(urls.url_paths, StrictEBSResponse.dispatch)


def _describe(snapshot: StrictSnapshot) -> dict[str, Any]:
    """What each list says of its snapshot, and until when its block tokens are valid."""
    valid = timedelta(seconds=min(WORLD.settings.block_token_seconds, _LONGEST_SECONDS))
    return {
        "VolumeSize": snapshot.volume_size,
        "BlockSize": BLOCK_SIZE,
        "ExpiryTime": datetime.now(timezone.utc) + valid,
    }


def _make_token(index: int, *about: str) -> str:
    """A token for this block."""
    # assumption: the user guide says that each list has new ones. Older ones stay valid until they expire, or nobody
    # could list all pages first.
    payload = _TOKEN.pack(WORLD.now(), index)
    return b64encode(payload + _seal(payload, about)).decode()


def _read_token(token: str, *about: str) -> tuple[int | None, float]:
    """The block's index, and when the token was made; the index is None if it was not made here for this."""
    try:
        made = b64decode(token, validate=True)
    except ValueError:
        return None, 0.0
    payload, seal = made[: _TOKEN.size], made[_TOKEN.size :]
    if not hmac.compare_digest(seal, _seal(payload, about)):
        return None, 0.0
    issued, index = _TOKEN.unpack(payload)
    return index, issued


def _seal(payload: bytes, about: tuple[str, ...]) -> bytes:
    return hmac.digest(_KEY, payload + repr(about).encode(), "sha256")


def _invalid(reason: str, message: str) -> DirectError:
    return DirectError("ValidationException", reason, message)
