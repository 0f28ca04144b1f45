"""What is on a volume: sparse blocks that never change, so that snapshots, copies and volumes share them."""

import hashlib
from collections.abc import Mapping

# As EBS direct reads them.
BLOCK_SIZE = 512 * 1024
Blocks = Mapping[int, bytes]

EMPTY: Blocks = {}
_ZEROS = bytes(BLOCK_SIZE)


def write(blocks: Blocks, offset: int, data: bytes) -> Blocks:
    """The blocks with these bytes at the offset; the blocks given stay as they are."""
    first, end = offset // BLOCK_SIZE, -(-(offset + len(data)) // BLOCK_SIZE)
    touched = bytearray(read(blocks, first * BLOCK_SIZE, (end - first) * BLOCK_SIZE))
    start = offset - first * BLOCK_SIZE
    touched[start : start + len(data)] = data
    changed = {
        first + number: bytes(touched[number * BLOCK_SIZE : (number + 1) * BLOCK_SIZE])
        for number in range(end - first)
    }
    return {**blocks, **changed}


def read(blocks: Blocks, offset: int, length: int) -> bytes:
    """So many bytes from the offset; what was never written is zeros."""
    first, end = offset // BLOCK_SIZE, -(-(offset + length) // BLOCK_SIZE)
    start = offset - first * BLOCK_SIZE
    return b"".join(blocks.get(index, _ZEROS) for index in range(first, end))[start : start + length]


def digest(blocks: Blocks) -> str:
    """SHA-256 of all content: the same for zeros that were written as for what was never written."""
    content = hashlib.sha256()
    for index, block in sorted(blocks.items()):
        if block != _ZEROS:
            content.update(index.to_bytes(8, "big") + block)
    return content.hexdigest()
