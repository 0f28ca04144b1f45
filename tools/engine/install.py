"""Find or install the Pulumi CLI and its Python language host, and print the folder to put on PATH.

Four sources, in this order: `pulumi` on PATH; one installed earlier for this project; the official release;
a build from the Go modules pinned beside this file. The release is compared with the SHA-256 sums that are published
beside it, the modules with those in go.sum. The last two install into `$SNAPSET_ENGINE_DIR`, or else
`${XDG_CACHE_HOME:-~/.cache}/snapset/engine`. The folder is all that goes to stdout; messages go to stderr.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from running import UnavailableError, ask, run, say, stop_on_signals

VERSION = "3.274.1"  # what is installed
OLDEST = "3.259.0"  # what is accepted on PATH; snapset.pipeline.engine has the same
FILES = ("pulumi", "pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python")
HERE = Path(__file__).resolve().parent
SDK = "github.com/pulumi/pulumi/sdk/v3"
# The newest Python language host that is published as a Go module is older than the CLI; they work together.
GO_PROGRAMS = (
    ("cli", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", VERSION),
    ("language-python", f"{SDK}/python/cmd/pulumi-language-python", "3.79.0"),
)
# Neither a C compiler nor the settings of a Go workspace that this checkout may lie in.
GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}

RELEASES = "https://github.com/pulumi/pulumi/releases/download"
# End a download that stalls, but let a slow one go on.
STALLED_SECONDS = 30.0
DOWNLOAD_SECONDS = 30 * 60.0
BUILD_SECONDS = 60 * 60.0

# Writes bin/ into the first folder; the second one is for its own use. Both are empty.
Fill = Callable[[Path, Path], None]


def check_version(pulumi: Path) -> None:
    """Pass if this pulumi answers, with a version that snapset works with."""
    answer = ask(str(pulumi), "version", environment={"PULUMI_SKIP_UPDATE_CHECK": "true"})
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", answer)
    if match is None:
        raise UnavailableError(f"`{pulumi} version` answered {answer!r}, which is no version")
    version, oldest = tuple(map(int, match.groups())), tuple(map(int, OLDEST.split(".")))
    if version < oldest:
        raise UnavailableError(f"{pulumi} is version {answer}, older than {OLDEST}")
    if version[0] > oldest[0]:
        raise UnavailableError(f"{pulumi} is version {answer}; snapset works with {oldest[0]}.x")


def find_on_path() -> Path:
    """Return the folder of the `pulumi` on PATH, if it will do."""
    found = shutil.which("pulumi")
    if found is None:
        raise UnavailableError("no pulumi on PATH")
    pulumi = Path(found).absolute()
    check_version(pulumi)
    # Like the engine itself, look where a link leads as well.
    beside = [folder / FILES[1] for folder in (pulumi.parent, pulumi.resolve().parent)]
    if not any(os.access(host, os.X_OK) for host in beside) and shutil.which(FILES[1]) is None:
        raise UnavailableError(f"{pulumi} has no {FILES[1]}, its Python language host, beside it or on PATH")
    return pulumi.parent


def find_complete(folder: Path) -> Path:
    """Return the folder, if all of the engine's files are in it and the CLI answers."""
    missing = [name for name in FILES if not os.access(folder / name, os.X_OK)]
    if missing:
        raise UnavailableError(f"{folder} lacks {', '.join(missing)}" if folder.exists() else f"no {folder}")
    check_version(folder / FILES[0])
    return folder


def download_release(engine: Path, scratch: Path) -> None:
    """Install the official release, if it has the SHA-256 sum that is published beside it."""
    say(f"Downloading the official release of Pulumi {VERSION} and its SHA-256 sum.")
    run(
        [sys.executable, HERE / "release.py", engine, VERSION, RELEASES, str(STALLED_SECONDS)],
        what="downloading the release",
        scratch=scratch,
        seconds=DOWNLOAD_SECONDS,
        cwd=scratch,
        environment={},
    )


def build_from_modules(engine: Path, scratch: Path) -> None:
    """Build the CLI and the language host from the pinned Go modules."""
    if shutil.which("go") is None:
        raise UnavailableError("go is not on PATH")
    say(f"Building Pulumi {VERSION} from source, once, for want of a release. It takes four to six minutes.")
    (engine / "bin").mkdir()
    for module, package, version in GO_PROGRAMS:
        program = engine / "bin" / package.rpartition("/")[2]
        stamp = f"-s -w -X {SDK}/go/common/version.Version={version}"
        options = ["-tags", "osusergo,grpcnotrace", "-trimpath", "-ldflags", stamp]
        run(
            ["go", "build", *options, "-o", program, package],
            what=f"building {program.name}",
            scratch=scratch,
            seconds=BUILD_SECONDS,
            cwd=HERE / module,
            environment=GO_ENVIRONMENT,
        )
    sdk = ask("go", "list", "-m", "-f", "{{.Dir}}", SDK, cwd=HERE / "cli", environment=GO_ENVIRONMENT)
    for script in ("cmd/pulumi-language-python-exec", "dist/pulumi-resource-pulumi-python"):
        copy = engine / "bin" / Path(script).name
        shutil.copyfile(Path(sdk, "python", script), copy)
        copy.chmod(0o755)


INSTALLERS: Mapping[str, Fill] = {
    "the official release": download_release,
    "a build from source": build_from_modules,
}


@contextmanager
def one_at_a_time(cache: Path) -> Iterator[None]:
    """Let one install at a time write to the cache. The system frees the lock of one that was killed."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another install that is at work in {cache}.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in cache.glob(".part-*"):
            shutil.rmtree(leftover)
        yield


def install(fill: Fill, *, cache: Path) -> Path:
    """Install beside the final place, move it there when it is whole, and return the folder for PATH."""
    part, final = cache / f".part-{os.getpid()}", cache / VERSION
    engine, scratch = part / "engine", part / "scratch"
    try:
        engine.mkdir(parents=True)
        scratch.mkdir()
        fill(engine, scratch)
        find_complete(engine / "bin")
        if final.exists():
            shutil.rmtree(final)
        engine.rename(final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    say(f"Installed Pulumi {VERSION} in {final / 'bin'}.")
    return final / "bin"


def find_or_install(*, cache: Path, installers: Mapping[str, Fill] = INSTALLERS) -> Path:
    """Return the folder of the first source that gives the engine, or raise with every source's reason."""
    reasons: dict[str, str] = {}

    def attempt(name: str, find: Callable[[], Path]) -> Path | None:
        try:
            return find()
        except (UnavailableError, OSError, subprocess.TimeoutExpired) as error:
            reasons[name] = str(error)
            return None

    def find_earlier() -> Path | None:
        return attempt("an earlier install", partial(find_complete, cache / VERSION / "bin"))

    found = attempt("pulumi on PATH", find_on_path) or find_earlier()
    try:
        if found is None:
            with one_at_a_time(cache):
                # Whoever held the lock until now may have installed it.
                found = find_earlier()
                for name, fill in installers.items():
                    if found is None:
                        found = attempt(name, partial(install, fill, cache=cache))
                        if found is None:
                            # A release with a wrong sum must be seen, also where the build after it works.
                            say(f"  {name} failed: {reasons[name]}")
    except OSError as error:
        reasons["installing"] = f"{error}. Name a folder that can be written in SNAPSET_ENGINE_DIR."
    if found is None:
        raise UnavailableError("\n".join(f"  {name}: {reason}" for name, reason in reasons.items()))
    return found


def main(arguments: Sequence[str] | None = None, *, installers: Mapping[str, Fill] = INSTALLERS) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--remove", action="store_true", help="remove what was installed earlier, and stop")
    remove = parser.parse_args(arguments).remove
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(os.environ.get("SNAPSET_ENGINE_DIR") or user_cache / "snapset" / "engine").absolute()
    stop_on_signals()
    try:
        if remove:
            with one_at_a_time(cache):
                shutil.rmtree(cache / VERSION, ignore_errors=True)
        else:
            sys.stdout.write(f"{find_or_install(cache=cache, installers=installers)}\n")
    except UnavailableError as reasons:
        say(f"The Pulumi CLI with its Python language host was neither found nor installed:\n{reasons}")
        say(f"Install Pulumi {OLDEST} or newer (https://www.pulumi.com/docs/install/), then run make setup.")
        return 1
    except KeyboardInterrupt:
        say("Interrupted. Nothing half-installed is left.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
