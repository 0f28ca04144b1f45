"""The GitHub Action, the GitLab component and the Jenkins pipeline, as their runners run them.

The tests imitate a runner: they set its variables and files, write a step's script to a file, and run it in the
runner's shell. The install steps are skipped, because snapset is installed. The backup steps run unchanged.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from snapset.cli import app
from snapset.cli.output import print_error
from support.project import REPOSITORY, Run, mutating, run_environment, until
from typer.main import get_command

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

ACTION = yaml.safe_load((REPOSITORY / "action.yml").read_text())
[INSTALL, BACK_UP] = ACTION["runs"]["steps"]
SPEC, GITLAB = yaml.safe_load_all((REPOSITORY / "templates/backup.yml").read_text())
[(_, JOB)] = GITLAB.items()
JENKINS = (REPOSITORY / "ci/Jenkinsfile").read_text()
NOT_THERE = "i-0123456789abcdef0"
NASTY = """it's "42"; $(touch hacked) `touch hacked` ${{ github.token }} | & %0A"""


@dataclass
class GitHub:
    """The parts of a GitHub runner that the steps of a composite action use."""

    folder: Path
    env: dict[str, str]
    inputs: dict[str, str] = field(default_factory=dict)
    matrix: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        (self.folder / "temp").mkdir()
        (self.folder / "temp/snapset").symlink_to(sys.prefix)
        self.output, self.summary = self.folder / "output", self.folder / "summary"
        self.env |= {
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(REPOSITORY),
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(self.folder / "temp"),
        }

    def start(self) -> subprocess.Popen[str]:
        for file in (self.output, self.summary):
            file.write_text("")
        context = {
            "github.run_id": "4711",
            "github.job": "deploy",
            "github.action": "__snapset",
            "toJSON(matrix)": json.dumps(self.matrix, indent=2),
        }
        defaults = {name: described.get("default", "") for name, described in ACTION["inputs"].items()}
        inputs = {name: evaluate(text, context) for name, text in defaults.items()} | self.inputs
        context["toJSON(inputs)"] = json.dumps(inputs, indent=2)
        script = self.folder / "step.sh"
        script.write_text(BACK_UP["run"])
        return subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=self.folder,
            env={**self.env, **{name: evaluate(text, context) for name, text in BACK_UP["env"].items()}},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self) -> Run:
        with self.start() as process:
            stdout, stderr = process.communicate(timeout=120)
        return Run(process.returncode, stdout, stderr)

    def outputs(self) -> dict[str, str]:
        """The step's outputs, by their names in the action."""
        pairs = dict(line.split("=", 1) for line in self.output.read_text().splitlines())
        context = {f"steps.{BACK_UP['id']}.outputs.{name}": value for name, value in pairs.items()}
        return {name: evaluate(described["value"], context) for name, described in ACTION["outputs"].items()}


def interpolate(text: str, context: dict[str, str]) -> str:
    """Replace each `$[[ ]]` of a component by its value; raises KeyError if it is not in the context."""
    return re.sub(r"\$\[\[ (.*?) \]\]", lambda match: context[match[1]], text)


def evaluate(text: str, context: dict[str, str]) -> str:
    """Replace each expression in the string by its value; raises KeyError if it is not in the context."""
    return re.sub(r"\$\{\{ (.*?) \}\}", lambda match: context[match[1]], text)


def shell(*command: str, folder: Path, env: dict[str, str]) -> Run:
    ran = subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Run(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def env(ec2: EmbeddedEC2, tmp_path: Path) -> dict[str, str]:
    return run_environment(tmp_path, ec2.environment())


@pytest.fixture
def github(env: dict[str, str], tmp_path: Path) -> GitHub:
    return GitHub(tmp_path, env)


@pytest.fixture
def instance(ec2: EmbeddedEC2) -> LaunchedInstance:
    return ec2.launch([(20, "/dev/sdf", {}), (100, "/dev/sdg", {})])


def snapshots_in(ec2: EmbeddedEC2) -> list[Any]:
    return ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]


def test_the_action_takes_the_sets_and_another_attempt_waits_for_them_and_prints_the_same(
    github: GitHub, ec2: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path
) -> None:
    other = ec2.launch().instance_id
    scratch = instance.volume_ids["/dev/sdg"]
    github.inputs = {
        "instances": f"{instance.instance_id}\n{other}",
        "tag": f"app=shop\n\n  note={NASTY}  \n",
        "description": NASTY,
        "stack": "prod",
    }
    ran = github.run().ok()
    assert "::error" not in ran.text
    there = snapshots_in(ec2)
    assert {snapshot["Description"] for snapshot in there} == {NASTY}
    for snapshot in there:
        tags = {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}
        assert (tags["app"], tags["note"]) == ("shop", NASTY)
        assert tags["snapset:change"] == "github-run-4711-deploy-__snapset"
    assert not list(tmp_path.rglob("hacked"))

    outputs = github.outputs()
    document = json.loads(outputs["json"])
    assert outputs["set-id"].split() == [record["set_id"] for record in document["sets"]]
    assert sorted(outputs["snapshot-ids"].split()) == sorted(snapshot["SnapshotId"] for snapshot in there)
    heading, rule, *rows = [line for line in github.summary.read_text().splitlines() if line.startswith("|")]
    assert heading == "| set | instance | outcome | snapshot | volume | device | GiB | state |"
    assert {line.count("|") for line in (rule, *rows)} == {heading.count("|")}
    assert len(rows) == len(there)
    assert f"| {scratch} | /dev/sdg | 100 | completed |" in github.summary.read_text()

    # A second attempt is on another runner, which shares nothing with the first, and can be too early to see them.
    github.env |= {"GITHUB_RUN_ATTEMPT": "2", "XDG_STATE_HOME": str(tmp_path / "other"), "PULUMI_BACKEND_URL": ""}
    ec2.settings(visibility_seconds=float("inf"))
    ec2.clear_calls()
    with github.start() as process:
        until(lambda: len(ec2.calls("DescribeSnapshots")) > 1)
        ec2.settings(visibility_seconds=0)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert github.outputs()["snapshot-ids"] == outputs["snapshot-ids"]
    assert "| unchanged |" in github.summary.read_text()
    assert mutating(ec2.calls()) == []


def test_the_jobs_of_a_matrix_take_their_sets_at_the_same_time(
    env: dict[str, str], ec2: EmbeddedEC2, tmp_path: Path
) -> None:
    jobs = []
    for shard in (1, 2):
        folder = tmp_path / str(shard)
        folder.mkdir()
        matrix = {"zone": "a b", "shard": shard}
        job = GitHub(folder, dict(env), {"instances": ec2.launch().instance_id}, matrix=matrix)
        jobs.append((job, job.start()))
    for job, process in jobs:
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stdout + stderr
        assert len(job.outputs()["set-id"].split()) == 1
    changes = {tag["Value"] for item in snapshots_in(ec2) for tag in item["Tags"] if tag["Key"] == "snapset:change"}
    assert changes == {f"github-run-4711-deploy-__snapset shard={shard} zone=a b" for shard in (1, 2)}


def test_an_error_on_github_is_an_annotation_and_in_the_summary(github: GitHub, ec2: EmbeddedEC2) -> None:
    github.inputs = {"instances": NOT_THERE, "exclude-volume": "vol-0123456789abcdef0", "exclude-boot": "true"}
    ran = github.run().failed()
    assert ran.code == 2
    [annotation] = re.findall(r"^::error title=snapset::(.*)$", ran.stderr, re.MULTILINE)
    assert NOT_THERE in annotation
    assert f"snapset: {annotation}" in ran.stderr.splitlines()
    summary = github.summary.read_text()
    assert "No set was taken." in summary
    assert "InvalidInstanceID.NotFound" in summary
    assert github.outputs()["set-id"] == ""
    assert snapshots_in(ec2) == []


def test_a_cancelled_job_exits_with_130_and_names_its_set(
    github: GitHub, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    github.inputs = {"instances": instance.instance_id}
    with github.start() as process:
        until(lambda: ec2.calls("CreateTags"))
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert github.outputs()["set-id"] in stderr
    assert len(github.outputs()["snapshot-ids"].split()) == 3


@pytest.mark.parametrize("name", ["exclude-boot", "copy-tags", "preview", "wait"])
def test_a_boolean_input_must_be_true_or_false(github: GitHub, name: str) -> None:
    github.inputs = {"instances": NOT_THERE, name: "perhaps"}
    ran = github.run().failed()
    assert (ran.code, ran.stderr) == (2, f"::error title=snapset::reading {name}: it is neither true nor false.\n")


def test_the_action_has_an_input_for_every_option() -> None:
    [backup] = [command for name, command in get_command(app).commands.items() if name == "backup"]  # type: ignore[attr-defined]
    options = {text.removeprefix("--") for option in backup.params for text in option.opts if text[:2] == "--"}
    assert set(ACTION["inputs"]) == {"instances"} | options - {"json"}


def test_no_input_becomes_part_of_a_script() -> None:
    assert [step["run"] for step in (INSTALL, BACK_UP) if "${{" in step["run"]] == []
    assert {step["shell"] for step in (INSTALL, BACK_UP)} == {"bash"}


def test_an_annotation_is_always_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    print_error("100 %: a::b,\r\n::error::c")
    assert capsys.readouterr().err.splitlines()[-1] == "::error title=snapset::100 %25: a::b,  ::error::c"
    monkeypatch.delenv("GITHUB_ACTIONS")
    print_error("100 %")
    assert capsys.readouterr().err == "snapset: 100 %\n"


def test_the_gitlab_job_takes_the_set_and_exports_its_ids(
    env: dict[str, str], ec2: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path
) -> None:
    def job(instances: str) -> Run:
        inputs = {name: described["default"] for name, described in SPEC["spec"]["inputs"].items()}
        inputs |= {"instances": instances, "options": "--tag app=shop --exclude-boot"}
        context = {"component.sha": "0" * 40} | {f"inputs.{name}": value for name, value in inputs.items()}
        variables = {name: interpolate(value, context) for name, value in JOB["variables"].items()}
        given = {**env, **variables, "CI_PIPELINE_ID": "815", "CI": "true"}
        # GitLab's runner runs all lines of a script in one shell.
        script = "\n".join(["set -eo pipefail", *JOB["script"]])
        # The job runs in the user's checkout.
        (tmp_path / "json.py").write_text("raise SystemExit(1)")
        return shell("bash", "-c", script, folder=tmp_path, env=given)

    assert job(NOT_THERE).failed().code == 2
    assert not (tmp_path / "snapset.env").exists()
    job(instance.instance_id).ok()
    [taken] = json.loads((tmp_path / JOB["artifacts"]["paths"][0]).read_text())["sets"]
    dotenv = (tmp_path / JOB["artifacts"]["reports"]["dotenv"]).read_text().splitlines()
    assert dotenv == [
        f"SNAPSET_SET_ID={taken['set_id']}",
        f"SNAPSET_SNAPSHOT_IDS={' '.join(taken['snapshot_ids'])}",
    ]
    assert sorted(taken["snapshot_ids"]) == sorted(snapshot["SnapshotId"] for snapshot in snapshots_in(ec2))
    assert len(taken["snapshot_ids"]) == 2


def test_the_jenkins_step_takes_the_set_and_keeps_its_document(
    env: dict[str, str], ec2: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path
) -> None:
    _, script = re.findall(r"sh '''\n(.*?)'''", JENKINS, re.DOTALL)
    (tmp_path / ".snapset").mkdir()
    (tmp_path / ".snapset/path").write_text(f"{sys.prefix}/bin")
    given = {**env, "BUILD_TAG": "jenkins-shop/deploy-42", "INSTANCES": instance.instance_id}
    # Jenkins runs a step's script with sh -xe.
    shell("sh", "-xe", "-c", script, folder=tmp_path, env=given).ok()
    [document] = re.findall(r"archiveArtifacts artifacts: '(.*?)'", JENKINS)
    [taken] = json.loads((tmp_path / document).read_text())["sets"]
    assert sorted(taken["snapshot_ids"]) == sorted(snapshot["SnapshotId"] for snapshot in snapshots_in(ec2))


def test_nothing_is_installed_of_which_no_lock_has_the_hash() -> None:
    install = (REPOSITORY / "ci/install.sh").read_text()
    packages, snapset = [line for line in install.splitlines() if "pip install" in line]
    assert "--require-hashes" in packages
    assert "--no-deps --no-build-isolation" in snapset
    # The current folder is the user's checkout, whose files are no modules.
    assert install.count(" -m ") == install.count(" -I -m ") == 3
    named = re.findall(r"\$checkout/([^\"]+)", install)
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []
    for steps in (INSTALL["run"], JENKINS, "\n".join(JOB["before_script"])):
        assert "ci/install.sh" in steps
        assert not re.search(r"pip\S* install|curl|wget", steps)


@pytest.mark.parametrize(
    "script",
    [
        (REPOSITORY / "ci/install.sh").read_text(),
        "\n".join(JOB["before_script"]),
        *re.findall(r"sh '''\n(.*?)'''", JENKINS, re.DOTALL),
        INSTALL["run"],
    ],
)
def test_the_install_steps_are_valid_shell(script: str, tmp_path: Path) -> None:
    shell("bash", "-n", "-c", script, folder=tmp_path, env=dict(os.environ)).ok()
