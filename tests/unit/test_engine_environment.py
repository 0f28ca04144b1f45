"""Which engine the command line starts, and on which state."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from snapset import errors
from snapset.pipeline.engine import engine_folder, environment, leave_outer_program


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has never used Pulumi."""
    for name in [name for name in os.environ if name.startswith(("PULUMI_", "XDG_", "SNAPSET_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def log_in(home: Path, text: str) -> None:
    (home / ".pulumi").mkdir(exist_ok=True)
    (home / ".pulumi/credentials.json").write_text(text)


def put_pulumi(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "pulumi").write_text("#!/bin/sh\n")
    (folder / "pulumi").chmod(0o755)
    return folder


def test_without_a_backend_the_state_goes_to_the_users_data_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for state in [home / ".local/share/snapset/state"] * 2 + [home / "data/snapset/state"]:
        if "data" in state.parts:
            monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
        assert environment()["PULUMI_BACKEND_URL"] == f"file://{state}"
        assert state.is_dir()


@pytest.mark.parametrize("variable", ["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"])
def test_a_backend_in_the_environment_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "s3://state")
    assert "PULUMI_BACKEND_URL" not in environment()
    assert not (home / ".local").exists()


def test_the_backend_that_pulumi_is_logged_in_to_is_kept(home: Path) -> None:
    log_in(home, json.dumps({"current": "https://api.pulumi.com", "accounts": {}}))
    assert "PULUMI_BACKEND_URL" not in environment()


def test_the_credentials_are_looked_for_where_pulumi_keeps_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "elsewhere").mkdir()
    (home / "elsewhere/credentials.json").write_text('{"current": "s3://state"}')
    assert "PULUMI_BACKEND_URL" in environment()
    monkeypatch.setenv("PULUMI_HOME", str(home / "elsewhere"))
    assert "PULUMI_BACKEND_URL" not in environment()


@pytest.mark.parametrize(("url", "folder"), [("file://.", ""), ("file://./", ""), ("file://states", "states")])
@pytest.mark.parametrize("logged_in", [False, True])
def test_a_relative_backend_is_in_the_callers_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch, url: str, folder: str, logged_in: bool
) -> None:
    monkeypatch.chdir(home)
    if logged_in:
        log_in(home, json.dumps({"current": url}))
    else:
        monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    assert environment()["PULUMI_BACKEND_URL"] == (home / folder).as_uri()


def test_relative_paths_of_the_environment_are_in_the_callers_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "keys")
    monkeypatch.setenv("AWS_CONFIG_FILE", "~/config")
    monkeypatch.setenv("PATH", os.pathsep.join(["bin", "/usr/bin", ""]))
    added = environment()
    assert added["AWS_SHARED_CREDENTIALS_FILE"] == str(home / "keys")
    assert added["PATH"] == os.pathsep.join([str(home / "bin"), "/usr/bin", str(home)])
    assert "AWS_CONFIG_FILE" not in added


@pytest.mark.parametrize("text", ["[]", "{}", '{"current": ""}', "", "not json"])
def test_credentials_that_name_no_backend_are_none(home: Path, text: str) -> None:
    log_in(home, text)
    assert "PULUMI_BACKEND_URL" in environment()


def test_an_unset_passphrase_is_no_obstacle_the_engine_is_not_updated_and_the_provider_runs_in_this_python() -> None:
    assert environment()["PULUMI_CONFIG_PASSPHRASE"] == ""
    assert environment()["PULUMI_SKIP_UPDATE_CHECK"] == "true"
    assert environment()["PULUMI_PYTHON_CMD"] == sys.executable


@pytest.mark.parametrize("variable", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
@pytest.mark.parametrize("value", ["", "secret"])
def test_a_passphrase_that_is_set_is_kept(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    assert "PULUMI_CONFIG_PASSPHRASE" not in environment()


def test_the_config_of_an_outer_program_is_forgotten_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {f"PULUMI_CONFIG{name}" for name in ("", "_SECRET_KEYS", "_AWS_PROFILE", "_SNAPSET_PREFLIGHT")}
    mine = {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"}
    for name in theirs | mine:
        monkeypatch.setenv(name, "x")
    leave_outer_program()
    assert (theirs | mine) & os.environ.keys() == mine


def test_a_relative_home_is_taken_from_where_the_command_runs_and_a_relative_data_folder_is_ignored(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", "mine")
    # https://specifications.freedesktop.org/basedir-spec/latest/: all paths must be absolute; others are ignored.
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    assert environment()["PULUMI_BACKEND_URL"] == (home / "mine/.local/share/snapset/state").as_uri()


def test_an_engine_on_path_is_taken_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(put_pulumi(home / "path")))
    put_pulumi(home / ".cache/snapset/engine/3.259.0/bin")
    assert engine_folder() is None


@pytest.mark.parametrize(
    ("variable", "folder"),
    [("HOME", ".cache/snapset/engine"), ("XDG_CACHE_HOME", "snapset/engine"), ("SNAPSET_ENGINE_DIR", "")],
)
def test_else_the_newest_that_was_installed_is_taken(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, folder: str
) -> None:
    monkeypatch.setenv("PATH", str(home / "nothing"))
    monkeypatch.setenv(variable, str(home))
    for version in ("3.259.0", "3.1000.1", "3.999.9"):
        put_pulumi(home / folder / version / "bin")
    assert engine_folder() == str(home / folder / "3.1000.1/bin")


def test_without_an_engine_it_says_where_to_get_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home / "nothing"))
    (home / ".cache/snapset/engine/3.259.0/bin").mkdir(parents=True)
    with pytest.raises(errors.SnapsetError) as caught:
        engine_folder()
    assert str(caught.value).startswith("starting the Pulumi engine: there is no `pulumi` on PATH. Install it from ")
    assert "\n" not in str(caught.value)
