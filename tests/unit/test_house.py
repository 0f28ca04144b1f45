"""The house: lint-imports holds the imports to one way; here, that importing snapset is cheap."""

from __future__ import annotations

import subprocess
import sys

import pytest
import snapset


@pytest.mark.parametrize("program", ["import snapset", "from snapset.cli import app; app(['--help'])"])
def test_importing_snapset_and_asking_for_help_import_no_sdk(program: str) -> None:
    check = (
        "import atexit, sys\n"
        "heavy = {'boto3', 'botocore', 'moto', 'pulumi', 'pulumi_aws'}\n"
        "atexit.register(lambda: sys.stderr.write(','.join(sorted(heavy & sys.modules.keys()))))\n"
    )
    ran = subprocess.run([sys.executable, "-c", check + program], capture_output=True, text=True, check=True)
    assert ran.stderr == ""


def test_dir_lists_the_public_names_also_before_they_are_loaded_and_each_is_there() -> None:
    listing = "import snapset; print(*dir(snapset))"
    ran = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == dir(snapset) == sorted(snapset.__all__)
    assert [name for name in dir(snapset) if getattr(snapset, name).__name__ != name] == []
