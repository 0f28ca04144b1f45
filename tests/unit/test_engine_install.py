"""tools/engine/install.py: which Pulumi it takes, what it leaves behind, and what it says when none can be had."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.util
import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest
from snapset.pipeline.engine import OLDEST

ENGINE = Path(__file__).parents[2] / "tools" / "engine"
SCRIPT = ENGINE / "install.py"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ENGINE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


running = load("running")
install = load("install")

DEADLINE = 20.0


def write_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def write_engine(folder: Path, *, version: str = install.VERSION, files: tuple[str, ...] = install.FILES) -> Path:
    for name in files:
        write_program(folder / name, f"echo v{version}")
    return folder


def fill(engine: Path, scratch: Path) -> None:
    write_engine(engine / "bin")


def fill_half(engine: Path, scratch: Path) -> None:
    write_engine(engine / "bin", files=install.FILES[:2])


def refuse(engine: Path, scratch: Path) -> None:
    raise running.UnavailableError("the mirror is closed")


def must_not_run(engine: Path, scratch: Path) -> None:
    pytest.fail("another source had the engine already")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a cache"
    monkeypatch.setenv("SNAPSET_ENGINE_DIR", str(folder))
    return folder


def find(cache: Path, **installers: object) -> Path:
    found = install.find_or_install(cache=cache, installers=installers)
    assert isinstance(found, Path)
    return found


def reasons(cache: Path, **installers: object) -> str:
    with pytest.raises(running.UnavailableError) as caught:
        find(cache, **installers)
    return str(caught.value)


Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start_main(path: Path, cache: Path) -> Iterator[Start]:
    """Run main() in a process of its own; the code given sets `installers`."""
    processes = []

    def start(code: str) -> subprocess.Popen[str]:
        program = f"""
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(ENGINE)!r})
import install, running
# A shell's background jobs are told to ignore it, and so would this one be.
signal.signal(signal.SIGINT, signal.default_int_handler)
{code}
sys.exit(install.main([], installers=installers))
"""
        environment = {"PATH": str(path), "SNAPSET_ENGINE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
        pipe = subprocess.PIPE
        processes.append(
            subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=pipe, stderr=pipe, text=True)
        )
        return processes[-1]

    yield start
    for process in processes:
        process.terminate()
        process.communicate(timeout=DEADLINE)


def wait_until(condition: Callable[[], bool], *, what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {DEADLINE:.0f} s"


def read_now(pipe: int) -> bytes | None:
    """Return what is in the pipe, nothing if no process has it open for writing, None if one has but is silent."""
    try:
        return os.read(pipe, 100)
    except BlockingIOError:
        return None


# pulumi on PATH


@pytest.mark.parametrize("version", [install.OLDEST, "3.300.1-alpha.1+dirty"])
def test_a_pulumi_on_path_that_is_new_enough_is_taken(path: Path, cache: Path, version: str) -> None:
    write_engine(path, version=version, files=install.FILES[:2])
    assert find(cache, other=must_not_run) == path
    assert not cache.exists()


def test_the_oldest_is_the_same_everywhere() -> None:
    assert str(OLDEST) == install.OLDEST
    pyproject = (ENGINE.parents[1] / "pyproject.toml").read_text()
    assert f'"pulumi>={OLDEST.major}.{OLDEST.minor},<4"' in pyproject


@pytest.mark.parametrize(
    ("script", "files", "reason"),
    [
        ("echo v3.258.9", install.FILES, "pulumi is version v3.258.9, older than 3.259.0"),
        ("echo v4.0.0", install.FILES, "pulumi is version v4.0.0; snapset works with 3.x"),
        (f"echo v{install.VERSION}", ["pulumi"], "pulumi has no pulumi-language-python"),
        ("echo no such plugin >&2; exit 126", ["pulumi"], "pulumi version` .*no such plugin"),
        ("echo hello", ["pulumi"], "pulumi version` .*answered 'hello', which is no version"),
        ("exit 3", ["pulumi"], "pulumi version` .*it said nothing"),
    ],
)
def test_a_pulumi_on_path_that_will_not_do_is_passed_over_and_named(
    path: Path, cache: Path, script: str, files: Sequence[str], reason: str
) -> None:
    for name in files:
        write_program(path / name, script)
    assert re.search(rf"pulumi on PATH: `?{path}/{reason}", reasons(cache))
    assert find(cache, release=fill) == cache / install.VERSION / "bin"


def test_a_pulumi_that_hangs_is_passed_over(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "ANSWER_SECONDS", 0.2)
    write_program(path / "pulumi", "exec /usr/bin/tail -f /dev/null")
    assert "timed out after 0.2 seconds" in reasons(cache)


def test_a_language_host_elsewhere_on_path_will_do(
    path: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_engine(path, files=("pulumi",))
    host = write_engine(tmp_path / "host", files=("pulumi-language-python",))
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{host}")
    assert find(cache) == path


def test_a_language_host_where_the_link_on_path_leads_will_do(path: Path, cache: Path, tmp_path: Path) -> None:
    (path / "pulumi").symlink_to(write_engine(tmp_path / "real") / "pulumi")
    assert find(cache) == path


def test_a_pulumi_for_another_machine_is_passed_over(path: Path, cache: Path) -> None:
    (path / "pulumi").write_bytes(b"\x7fELF of another machine")
    (path / "pulumi").chmod(0o755)
    assert "Exec format error" in reasons(cache)


# an earlier install


def test_an_earlier_install_is_taken(path: Path, cache: Path) -> None:
    folder = write_engine(cache / install.VERSION / "bin")
    assert find(cache, other=must_not_run) == folder


@pytest.mark.parametrize("name", install.FILES)
def test_a_cache_that_is_half_written_or_does_not_answer_is_not_taken(path: Path, cache: Path, name: str) -> None:
    folder = write_engine(cache / install.VERSION / "bin")
    (folder / name).unlink()
    assert f"{folder} lacks {name}" in reasons(cache)
    assert find(cache, release=fill) == folder
    assert sorted(each.name for each in folder.iterdir()) == sorted(install.FILES)
    write_program(folder / "pulumi", "exit 1")
    assert find(cache, release=fill) == install.find_complete(folder) == folder


# installing


def test_sources_are_tried_in_turn_until_one_gives_the_engine(path: Path, cache: Path) -> None:
    assert find(cache, first=refuse, second=fill, third=must_not_run) == cache / install.VERSION / "bin"


def test_an_install_that_lacks_a_file_is_not_put_in_place(path: Path, cache: Path) -> None:
    assert re.search(r"half: .* lacks pulumi-language-python-exec, pulumi-resource", reasons(cache, half=fill_half))
    assert [each.name for each in cache.iterdir()] == [".lock"]


def test_what_a_killed_install_left_is_removed(path: Path, cache: Path) -> None:
    write_engine(cache / ".part-1" / "engine" / "bin")
    find(cache, release=fill)
    assert sorted(each.name for each in cache.iterdir()) == [".lock", install.VERSION]


def test_two_installs_at_once_leave_one_whole_cache(cache: Path, tmp_path: Path, start_main: Start) -> None:
    started, go_on = tmp_path / "started", tmp_path / "go on"
    write_program(tmp_path / "program", f"echo {install.VERSION}")
    code = f"""
def fill(engine, scratch):
    Path({str(started)!r}).touch(exist_ok=False)
    while not os.path.exists({str(go_on)!r}) and time.monotonic() < {time.monotonic() + DEADLINE}:
        pass
    (engine / "bin").mkdir()
    for name in install.FILES:
        os.link({str(tmp_path / "program")!r}, engine / "bin" / name)
installers = {{"release": fill}}
"""
    first = start_main(code)
    wait_until(started.exists, what="the start of the first install")
    second = start_main(code)
    assert second.stderr is not None
    assert second.stderr.readline() == f"Waiting for another install that is at work in {cache}.\n"
    go_on.touch()
    folder = cache / install.VERSION / "bin"
    for process in (first, second):
        assert process.communicate(timeout=DEADLINE)[0] == f"{folder}\n"
        assert process.returncode == 0
    assert install.find_complete(folder) == folder
    assert sorted(each.name for each in cache.iterdir()) == [".lock", install.VERSION]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_half_cache_and_no_process(
    path: Path, cache: Path, tmp_path: Path, start_main: Start, number: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    # A build with a compiler at work, as `go build` has; both keep the pipe open as long as they live.
    name = shlex.quote(str(tmp_path / "pipe"))
    write_program(path / "go", f"exec 3> {name}; /usr/bin/tail -f /dev/null & echo started >&3; wait")
    process = start_main('installers = {"a build": install.build_from_modules}')
    wait_until(lambda: read_now(pipe) == b"started\n", what="the start of the build")
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert err.endswith("Interrupted. Nothing half-installed is left.\n")
    assert [each.name for each in cache.iterdir()] == [".lock"]
    wait_until(lambda: read_now(pipe) == b"", what="the end of the build's processes")
    os.close(pipe)


# the build


FAKE_GO = """
if [ "$1" = list ]; then echo {sdk}; exit; fi
echo "$PWD $CGO_ENABLED $GOFLAGS $GOWORK" >> {log}
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\necho {version}\\n' > "$2"
/bin/chmod +x "$2"
"""


def test_a_build_gives_all_four_files(path: Path, cache: Path, tmp_path: Path) -> None:
    sdk, log = tmp_path / "sdk", tmp_path / "log"
    for script in ("cmd/pulumi-language-python-exec", "dist/pulumi-resource-pulumi-python"):
        # As in Go's module cache: read-only, and not executable.
        write_program(sdk / "python" / script, "true").chmod(0o444)
    write_program(
        path / "go", FAKE_GO.format(version=install.VERSION, sdk=shlex.quote(str(sdk)), log=shlex.quote(str(log)))
    )
    folder = find(cache, build=install.build_from_modules)
    assert install.find_complete(folder) == folder
    modules = [ENGINE / name for name in ("cli", "language-python")]
    assert log.read_text().splitlines() == [f"{module} 0 -mod=readonly off" for module in modules]


def test_a_build_says_that_it_is_still_at_work(
    path: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(install, "BUILD_SECONDS", 0.3)
    write_program(path / "go", "exec /usr/bin/tail -f /dev/null")
    assert "building pulumi took longer than" in reasons(cache, build=install.build_from_modules)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "takes four to six minutes" in captured.err
    assert captured.err.count("building pulumi: 0 s so far") >= 2


def test_a_build_that_fails_is_told_by_its_last_lines(path: Path, cache: Path) -> None:
    write_program(path / "go", "echo one; echo; echo two >&2; echo go: no space left on device; exit 1")
    assert reasons(cache, build=install.build_from_modules).endswith(
        "build: one\n      two\n      go: no space left on device"
    )


def test_the_pinned_modules_are_of_the_versions_that_are_stamped_in() -> None:
    for module, package, version in install.GO_PROGRAMS:
        text = (ENGINE / module / "go.mod").read_text()
        assert f"tool {package}\n" in text
        repository = re.match(r".*?/v3(?=/)", package)
        assert repository is not None
        assert f"\t{repository[0]} v{version} " in text
    assert f"\t{install.SDK} v{install.VERSION} " in (ENGINE / "cli" / "go.mod").read_text()


# the release


MACHINES = ("linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64")
ARCHIVES = [f"pulumi-v{install.VERSION}-{machine}.tar.gz" for machine in MACHINES]
CHECKSUMS = f"pulumi-{install.VERSION}-checksums.txt"


@functools.cache  # the time of packing is in it
def make_archive() -> bytes:
    """Pack the engine's files as a release does, and one that would land outside of the folder."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in (*(f"pulumi/{name}" for name in install.FILES), "../outside"):
            program = f"#!/bin/sh\necho v{install.VERSION}\n".encode()
            member = tarfile.TarInfo(name)
            member.size = len(program)
            archive.addfile(member, io.BytesIO(program))
    return content.getvalue()


class Releases(http.server.ThreadingHTTPServer):
    """Serves one release. The attributes say what is wrong with it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ReleasesHandler)
        self.archive: bytes | None = make_archive()
        self.checksums: str | None = "{sum}  {name}\n"
        self.goes_on = threading.Event()
        self.goes_on.set()

    def answer(self, path: str) -> bytes | None:
        """Return what is at the path, or None."""
        _, release, name = path.split("/")
        assert release == f"v{install.VERSION}"
        if name in ARCHIVES:
            return self.archive
        if name == CHECKSUMS and self.checksums is not None:
            digest = hashlib.sha256(make_archive()).hexdigest()
            lines = [self.checksums.format(sum=digest, name=archive) for archive in ARCHIVES]
            return "".join([f"{'0' * 64}  pulumi-v{install.VERSION}-windows-x64.zip\n", *lines]).encode()
        return None


class ReleasesHandler(http.server.BaseHTTPRequestHandler):
    server: Releases

    def do_GET(self) -> None:
        body = self.server.answer(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if body is not None:
            self.wfile.write(body[:10])
            self.server.goes_on.wait(DEADLINE)
            with suppress(ConnectionError):  # the client may have given up
                self.wfile.write(body[10:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def releases(monkeypatch: pytest.MonkeyPatch) -> Iterator[Releases]:
    """A server on the loopback in place of the official one."""
    with Releases() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setattr(install, "RELEASES", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
        server.goes_on.set()
        server.shutdown()


def test_a_release_with_the_published_sum_is_installed(path: Path, cache: Path, releases: Releases) -> None:
    folder = find(cache, release=install.download_release)
    assert install.find_complete(folder) == folder
    assert sorted(each.name for each in folder.iterdir()) == sorted(install.FILES)
    assert sorted(each.name for each in cache.iterdir()) == [".lock", install.VERSION]


def test_a_release_with_another_sum_is_rejected(
    path: Path, cache: Path, releases: Releases, capsys: pytest.CaptureFixture[str]
) -> None:
    assert releases.archive is not None
    releases.archive += b"changed"
    good, bad = (hashlib.sha256(each).hexdigest() for each in (make_archive(), releases.archive))
    said = rf"the download of pulumi-v\S+ was rejected: its SHA-256 sum is {bad}, not {good}"
    assert re.search(said, reasons(cache, release=install.download_release))
    assert [each.name for each in cache.iterdir()] == [".lock"]
    # Nor does it go by unseen where another source gives the engine.
    find(cache, release=install.download_release, build=fill)
    assert re.search(f"  release failed: {said}", capsys.readouterr().err)


@pytest.mark.parametrize("checksums", ["", "{sum}  {name}.sig\n", "{sum}  other-{name}\n", "<html>{name}</html>\n"])
def test_a_release_without_a_published_sum_is_rejected(
    path: Path, cache: Path, releases: Releases, checksums: str
) -> None:
    releases.checksums = checksums
    said = reasons(cache, release=install.download_release)
    assert re.search(rf"{CHECKSUMS} has no SHA-256 sum for pulumi-v\S+\.tar\.gz$", said)


@pytest.mark.parametrize(("missing", "name"), [("archive", r"pulumi-v\S+\.tar\.gz"), ("checksums", CHECKSUMS)])
def test_a_file_that_is_missing_from_the_release_is_named(
    path: Path, cache: Path, releases: Releases, missing: str, name: str
) -> None:
    setattr(releases, missing, None)
    said = reasons(cache, release=install.download_release)
    assert re.search(rf"downloading http://127\.0\.0\.1:\d+/\S*{name}: HTTP 404 Not Found$", said)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("STALLED_SECONDS", "  release: 127.0.0.1 stopped answering"),
        ("DOWNLOAD_SECONDS", "downloading the release took longer than"),
    ],
)
def test_a_stalled_or_slow_download_of_the_release_comes_to_an_end(
    path: Path, cache: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch, limit: str, said: str
) -> None:
    monkeypatch.setattr(install, limit, 0.5)
    releases.goes_on.clear()
    assert said in reasons(cache, release=install.download_release)


def test_a_server_that_cannot_be_reached_is_named(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setattr(install, "RELEASES", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    said = reasons(cache, release=install.download_release)
    assert re.search(r"release: 127\.0\.0\.1 could not be reached: .*refused", said)


def test_the_release_is_downloaded_over_an_encrypted_connection() -> None:
    assert install.RELEASES.startswith("https://")


# nothing works


def test_when_nothing_works_every_source_and_its_reason_is_named(path: Path, cache: Path, start_main: Start) -> None:
    write_engine(path, version="3.100.0")
    code = """
def refuse(engine, scratch):
    raise running.UnavailableError("github.com could not be reached: Name or service not known")
installers = {**install.INSTALLERS, "the official release": refuse}
"""
    process = start_main(code)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines() == [
        "  the official release failed: github.com could not be reached: Name or service not known",
        "  a build from source failed: go is not on PATH",
        "The Pulumi CLI with its Python language host was neither found nor installed:",
        f"  pulumi on PATH: {path / 'pulumi'} is version v3.100.0, older than 3.259.0",
        f"  an earlier install: no {cache / install.VERSION / 'bin'}",
        "  the official release: github.com could not be reached: Name or service not known",
        "  a build from source: go is not on PATH",
        "Install Pulumi 3.259.0 or newer (https://www.pulumi.com/docs/install/), then run make setup.",
    ]


def test_a_cache_that_cannot_be_written_is_named(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert re.search(r"installing: .*file/cache'\. Name a folder", reasons(tmp_path / "file" / "cache", release=fill))


# the command line


def test_the_folder_is_all_that_goes_to_stdout(path: Path, cache: Path) -> None:
    folder = write_engine(cache / install.VERSION / "bin")
    answer = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    assert (answer.stdout, answer.stderr) == (f"{folder}\n", "")


def test_the_cache_lies_where_the_user_keeps_caches(path: Path, tmp_path: Path) -> None:
    folder = write_engine(tmp_path / "snapset" / "engine" / install.VERSION / "bin")
    environment = {"PATH": str(path), "XDG_CACHE_HOME": str(tmp_path)}
    answer = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout == f"{folder}\n"


def test_remove_takes_the_earlier_install_and_nothing_else(path: Path, cache: Path) -> None:
    write_engine(cache / install.VERSION / "bin")
    (cache / "mine").touch()
    subprocess.run([sys.executable, SCRIPT, "--remove"], check=True)
    assert sorted(each.name for each in cache.iterdir()) == [".lock", "mine"]
