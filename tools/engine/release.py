"""Download the official Pulumi release, check it and unpack it: `release.py FOLDER VERSION RELEASES SECONDS`.

RELEASES is the address of the releases, SECONDS how long a connection may be silent. A script of its own, because
`install.py` ends it when it takes too long or when the user interrupts. It needs only the standard library.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import sys
import tarfile
import tempfile
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

SYSTEMS = {"Linux": "linux", "Darwin": "darwin"}
MACHINES = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def download(url: str, file: IO[bytes], *, seconds: float) -> str:
    """Write what is at the address to the file and return its SHA-256 sum, or end the script with the reason."""
    digest = hashlib.sha256()
    host = urlsplit(url).hostname
    try:
        with urlopen(url, timeout=seconds) as answer:  # noqa: S310 (install.py gives an https address)
            while block := answer.read(1 << 20):
                digest.update(block)
                file.write(block)
    except HTTPError as error:
        sys.exit(f"downloading {url}: HTTP {error.code} {error.reason}")
    except URLError as error:
        sys.exit(f"{host} could not be reached: {error.reason}")
    except TimeoutError:
        sys.exit(f"{host} stopped answering")
    except (HTTPException, OSError) as error:
        sys.exit(f"downloading {url}: {error}")
    return digest.hexdigest()


def unpack(archive: IO[bytes], folder: Path) -> None:
    """Put the release's programs into the folder. They are files in the archive's folder pulumi."""
    with tarfile.open(fileobj=archive) as members:
        for member in members:
            path = Path(member.name)
            content = members.extractfile(member) if member.isfile() and path.parent == Path("pulumi") else None
            if content is not None:
                with content, (folder / path.name).open("wb") as program:
                    shutil.copyfileobj(content, program)
                (folder / path.name).chmod(0o755)


def install(folder: Path, version: str, releases: str, *, seconds: float) -> None:
    """Install the release for this machine into bin/ of the folder."""
    system, machine = SYSTEMS.get(platform.system()), MACHINES.get(platform.machine())
    if system is None or machine is None:
        sys.exit(f"there is no release for {platform.system()} on {platform.machine()}")
    name = f"pulumi-v{version}-{system}-{machine}.tar.gz"
    checksums = f"{releases}/v{version}/pulumi-{version}-checksums.txt"
    with tempfile.TemporaryFile() as file:
        download(checksums, file, seconds=seconds)
        file.seek(0)
        text = file.read().decode(errors="replace")
    published = re.search(rf"^([0-9a-f]{{64}})\s+\*?{re.escape(name)}\s*$", text, re.MULTILINE)
    if published is None:
        sys.exit(f"{checksums} has no SHA-256 sum for {name}")
    with tempfile.TemporaryFile() as file:
        digest = download(f"{releases}/v{version}/{name}", file, seconds=seconds)
        if digest != published[1]:
            sys.exit(f"the download of {name} was rejected: its SHA-256 sum is {digest}, not {published[1]}")
        file.seek(0)
        (folder / "bin").mkdir()
        unpack(file, folder / "bin")


if __name__ == "__main__":
    install(Path(sys.argv[1]), sys.argv[2], sys.argv[3], seconds=float(sys.argv[4]))
