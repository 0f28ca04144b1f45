"""`snapset.aws.api_model`: the small copy of botocore's model of EC2, which all calls are made with."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.session import Session
from snapset.aws.api_model import OPERATIONS, make_loader


def operations_by(loader: object) -> set[str]:
    session = Session()
    session.register_component("data_loader", loader)
    return set(session.get_service_model("ec2").operation_names)


def test_the_small_model_is_written_once_and_has_the_calls_that_snapset_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):
        assert operations_by(make_loader()) == set(OPERATIONS)
        [folder] = (tmp_path / "snapset").iterdir()
        assert folder.name.startswith("botocore-")


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff", None])
def test_a_damaged_model_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make_loader()
    [file] = tmp_path.rglob("service-2.json")
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert operations_by(make_loader()) == set(OPERATIONS)
    assert file.read_bytes() == whole


def test_a_request_is_the_same_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small, whole = Session(), Session()
    small.register_component("data_loader", make_loader())
    for operation in OPERATIONS:
        ours = small.get_service_model("ec2").operation_model(operation)
        theirs = whole.get_service_model("ec2").operation_model(operation)
        assert ours.http == theirs.http
        assert ours.input_shape
        assert theirs.input_shape
        assert ours.input_shape.members.keys() == theirs.input_shape.members.keys()
        assert ours.input_shape.required_members == theirs.input_shape.required_members


def test_without_a_folder_to_write_to_the_whole_model_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(occupied))
    assert operations_by(make_loader()) > set(OPERATIONS)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert operations_by(make_loader()) > set(OPERATIONS)
