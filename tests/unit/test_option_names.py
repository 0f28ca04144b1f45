"""Messages of the command line name its options."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from snapset import errors, rules
from snapset.cli.restore import OPTIONS as RESTORE
from snapset.restore.inputs import RestoreInputs
from snapset.sets.inputs import INPUTS
from snapset.sets.inputs import OPTIONS as BACKUP


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [("instance_id", BACKUP, "INSTANCE"), ("instance_id", RESTORE, "--to"), ("other", BACKUP, "other")],
)
def test_a_refusal_names_the_option(name: str, words: Mapping[str, str], said: str) -> None:
    with pytest.raises(errors.InputError) as refused:
        rules.refuse([rules.Problem(property=name, reason="it is bad")], names=words)
    assert str(refused.value) == f"reading {said}: it is bad."


def test_every_input_of_a_command_has_its_option() -> None:
    # Only stacks have triggers, and no input is a scope.
    assert [name for name in INPUTS if not BACKUP[name]] == ["triggers"]
    assert RestoreInputs.__dataclass_fields__.keys() - {"scope"} == RESTORE.keys()
