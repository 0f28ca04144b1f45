"""What is on the volumes of the instance that `--seed` launches: a small file system each, where mkfs is there."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .client import EmbeddedEC2, LaunchedInstance
from .content import BLOCK_SIZE

FILE = "about.txt"
_SIZE = "16M"
# Not on everybody's PATH. An image in a file needs no root.
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")


def fill(server: EmbeddedEC2, instance: LaunchedInstance, name: str) -> None:
    """Write an ext4 with one file to each volume of this instance; without mkfs only what would be in the file."""
    for device, volume_id in instance.volume_ids.items():
        about = f"This is {device} of {name}.\n".encode()
        for offset, block in _written_blocks(_make_file_system(about) or about):
            server.write(volume_id, offset, block)


def _make_file_system(about: bytes) -> bytes | None:
    """An ext4 with this file, or None where it can't be made."""
    mkfs = shutil.which("mkfs.ext4", path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS]))
    if not mkfs:
        return None
    with tempfile.TemporaryDirectory() as folder:
        files, image = Path(folder, "files"), Path(folder, "image")
        files.mkdir()
        (files / FILE).write_bytes(about)
        command = [mkfs, "-q", "-F", "-d", str(files), str(image), _SIZE]
        made = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)  # noqa: S603
        return image.read_bytes() if made.returncode == 0 else None


def _written_blocks(image: bytes) -> Iterator[tuple[int, bytes]]:
    """The blocks that are not all zeros, with their offsets."""
    for offset in range(0, len(image), BLOCK_SIZE):
        block = image[offset : offset + BLOCK_SIZE]
        if block.strip(b"\0"):
            yield offset, block
