"""Compare snapset with what a user would run instead, on the embedded EC2: `make bench`.

Each contender is a separate process. They take turns, so that a machine that slows down slows all of them. Ratios are
computed within a round; the tables show the median over the rounds. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from snapset.emulator.client import EmbeddedEC2
from snapset.pipeline.engine import engine_folder

HERE = Path(__file__).resolve().parent
VOLUMES: list[tuple[int, str, dict[str, str]]] = [(20, "/dev/sdf", {}), (100, "/dev/sdg", {})]
SNAPSET = [sys.executable, "-c", "from snapset.cli import main; main()"]
CONTENDER = [sys.executable, str(HERE / "contenders.py")]


@dataclass(frozen=True)
class Figures:
    """One finished run: wall and processor seconds, and the memory of its largest process in MiB."""

    wall: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Contender:
    """A command to measure; `prepare` fills its folder first, and is not timed."""

    name: str
    command: Sequence[str]
    prepare: Callable[[Path], None] = lambda folder: None


def run(command: Sequence[str], *, env: Mapping[str, str], folder: Path) -> Figures:
    """Run and measure the command; exit if it fails, because a failure's time is no result."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "figures")
        measure = [sys.executable, "-I", "-S", str(HERE / "measure.py"), str(report), *command]
        subprocess.run(measure, env=env, cwd=folder, check=True)  # noqa: S603
        ran = json.loads(report.read_text())
        if ran["code"]:
            output = Path(f"{report}.log").read_text(errors="replace")
            raise SystemExit(f"{' '.join(command)[:200]} ended with {ran['code']}:\n{output[-3000:]}")
    return Figures(**ran["figures"])


def compare(title: str, contenders: Sequence[Contender], *, rounds: int, env: Mapping[str, str]) -> None:
    """Run the contenders in turn, snapset first, and print a table of medians and ratios."""
    figures: dict[str, list[Figures]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            with tempfile.TemporaryDirectory(prefix="snapset-bench-") as name:
                folder = Path(name)
                contender.prepare(folder)
                taken = run(contender.command, env=env, folder=folder)
            # The first round only warms the caches.
            if number:
                figures[contender.name].append(taken)
    table = Table("", "wall s", "min-max", "cpu s", "MiB", "snapset / it", title=title, title_justify="left")
    own = figures[contenders[0].name]
    for name, runs in figures.items():
        walls = [run.wall for run in runs]
        ratios = [mine.wall / theirs.wall for mine, theirs in zip(own, runs, strict=True)]
        table.add_row(
            name,
            f"{statistics.median(walls):.2f}",
            f"{min(walls):.2f}-{max(walls):.2f}",
            f"{statistics.median(run.cpu for run in runs):.2f}",
            f"{max(run.memory for run in runs):.0f}",
            f"{statistics.median(ratios):.2f}",
        )
    Console().print(table)


def one_instance(ec2: EmbeddedEC2, *, rounds: int, env: Mapping[str, str]) -> None:
    """One instance with three volumes."""
    instance = ec2.launch(VOLUMES)
    contenders = [
        Contender("snapset backup", [*SNAPSET, "backup", instance.instance_id, "--json"]),
        Contender("inline pulumi up, empty", [*CONTENDER, "empty_program"]),
        Contender("boto3 script", [*CONTENDER, "boto3_loop", instance.instance_id]),
    ]
    if aws := shutil.which("aws", path=env["PATH"]):
        script = (
            f"{aws} ec2 wait snapshot-completed --snapshot-ids $({aws} ec2 create-snapshots --instance-specification "
            f'InstanceId={instance.instance_id} --query "Snapshots[].SnapshotId" --output text)'
        )
        contenders.append(Contender("aws create-snapshots, wait", ["sh", "-ec", script]))
    if terraform := find_terraform(ec2, instance.volume_ids.values(), env=env):
        contenders.append(terraform)
    compare("One instance, three volumes", contenders, rounds=rounds, env=env)


def far_away(ec2: EmbeddedEC2, *, delay: float, rounds: int, env: Mapping[str, str]) -> None:
    """One instance with three volumes, where each call takes so many seconds, as AWS takes them."""
    instance = ec2.launch(VOLUMES)
    contenders = [
        Contender("snapset backup --no-wait", [*SNAPSET, "backup", instance.instance_id, "--no-wait", "--json"])
    ]
    if aws := shutil.which("aws", path=env["PATH"]):
        given = ["--instance-specification", f"InstanceId={instance.instance_id}", "--output", "json"]
        contenders.append(Contender("aws ec2 create-snapshots", [aws, "ec2", "create-snapshots", *given]))
    ec2.fault(kind="delay", seconds=delay)
    compare(f"One instance, {delay * 1000:.0f} ms a call, not waited for", contenders, rounds=rounds, env=env)
    ec2.clear_faults()


def many_instances(ec2: EmbeddedEC2, count: int, *, rounds: int, env: Mapping[str, str]) -> None:
    """So many instances with only a root volume, in one run."""
    launched = ec2.ec2().run_instances(ImageId="ami-12345678", MinCount=count, MaxCount=count)["Instances"]
    ids = [instance["InstanceId"] for instance in launched]
    contenders = [
        Contender("snapset backup", [*SNAPSET, "backup", *ids, "--json"]),
        Contender("boto3 loop", [*CONTENDER, "boto3_loop", *ids]),
    ]
    compare(f"{count} instances", contenders, rounds=rounds, env=env)


def throttled(ec2: EmbeddedEC2, count: int, *, env: Mapping[str, str]) -> None:
    """So many instances behind AWS's own limit: 100 CreateSnapshots calls at once, and five more each second."""
    bucket, refill = 100, 5
    floor = (count - bucket) / refill
    launched = ec2.ec2().run_instances(ImageId="ami-12345678", MinCount=count, MaxCount=count)["Instances"]
    ids = [instance["InstanceId"] for instance in launched]
    table = Table("", "wall s", "to the floor", "sets", "refused calls", title_justify="left")
    table.title = f"{count} instances behind a bucket of {bucket} calls and {refill}/s: {floor:.0f} s at least"
    for contender in (
        Contender("snapset backup", [*SNAPSET, "backup", *ids, "--json"]),
        Contender("boto3 loop, adaptive retries", [*CONTENDER, "patient_boto3_loop", *ids]),
    ):
        ec2.clear_faults()
        ec2.fault(action="CreateSnapshots", kind="rate", bucket=bucket, refill_per_second=refill)
        ec2.clear_calls()
        with tempfile.TemporaryDirectory(prefix="snapset-bench-") as name:
            taken = run(contender.command, env=env, folder=Path(name))
        calls = [call["carried_out"] for call in ec2.calls("CreateSnapshots")]
        table.add_row(
            contender.name,
            f"{taken.wall:.1f}",
            f"{taken.wall / floor:.2f}",
            str(calls.count(True)),
            str(calls.count(False)),
        )
    ec2.clear_faults()
    Console().print(table)


def help_text(*, rounds: int, env: Mapping[str, str]) -> None:
    """`snapset --help`, the first thing that a user waits for."""
    contenders = [
        Contender("snapset --help", [*SNAPSET, "--help"]),
        Contender("python -c pass", [sys.executable, "-c", "pass"]),
    ]
    compare("Help", contenders, rounds=rounds, env=env)


def find_terraform(ec2: EmbeddedEC2, volume_ids: object, *, env: Mapping[str, str]) -> Contender | None:
    """Return the contender, or None if terraform or its aws provider can't be had.

    TERRAFORM_PLUGIN_DIR names a folder of unpacked providers; without it, terraform downloads the provider.
    """
    terraform = shutil.which("terraform", path=env["PATH"])
    if not terraform:
        return None
    plugins = os.environ.get("TERRAFORM_PLUGIN_DIR")
    init = [terraform, "init", "-input=false", *([f"-plugin-dir={plugins}"] if plugins else [])]

    def prepare(folder: Path) -> None:
        shutil.copy(HERE / "main.tf", folder)
        variables = {"endpoint": ec2.endpoint, "volume_ids": list(volume_ids)}  # type: ignore[call-overload]
        (folder / "terraform.tfvars.json").write_text(json.dumps(variables))
        subprocess.run(init, cwd=folder, env=env, check=True, capture_output=True)  # noqa: S603

    try:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder))
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.decode().split())
        Console().print(f"skipping terraform, because its aws provider can't be installed: {reason[:120]}")
        return None
    return Contender("terraform apply", [terraform, "apply", "-auto-approve", "-input=false"], prepare)


def environment(ec2: EmbeddedEC2, folder: Path) -> dict[str, str]:
    """Return an environment with the embedded EC2 and an empty state, and without the user's settings."""
    settings = ("AWS_", "PULUMI_", "SNAPSET_", "TF_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    state = folder / "state"
    state.mkdir()
    path = [str(Path(sys.executable).parent), *filter(None, [engine_folder()]), os.environ["PATH"]]
    return {
        **kept,
        **ec2.environment(),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CHECKPOINT_DISABLE": "1",
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": str(HERE),
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def main() -> None:
    """Run the chosen benchmarks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one to warm up")
    parser.add_argument("--many", type=int, nargs="*", default=[10, 400, 2000], help="how many instances")
    parser.add_argument("--throttled", type=int, nargs="*", default=[400], help="how many instances behind a limit")
    parser.add_argument("--delay", type=float, default=0.15, help="seconds that each call of a far EC2 takes")
    parser.add_argument("--many-rounds", type=int, default=1, help="rounds that count with many instances")
    chosen = parser.parse_args()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    Console().print(f"{machine}, {platform.system()} {platform.release()}")
    with tempfile.TemporaryDirectory(prefix="snapset-bench-") as name, EmbeddedEC2() as ec2:
        env = environment(ec2, Path(name))
        if chosen.rounds:
            help_text(rounds=chosen.rounds, env=env)
            one_instance(ec2, rounds=chosen.rounds, env=env)
            far_away(ec2, delay=chosen.delay, rounds=chosen.rounds, env=env)
        for count in chosen.many:
            ec2.reset()
            many_instances(ec2, count, rounds=chosen.many_rounds, env=env)
        for count in chosen.throttled:
            ec2.reset()
            throttled(ec2, count, env=env)


if __name__ == "__main__":
    main()
