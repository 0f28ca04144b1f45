"""`backup_before_change` refuses options that would guard against nothing, before anything is registered."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest
from snapset import backup_before_change


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("on", ["destroy"], "Give a list of update and delete"),
        ("on", "delete", "Give a list of update and delete"),
        ("on", [], "Give a list of update and delete"),
        ("on_failure", "ignore", "Use block or warn"),
        ("wait", "yes", "wait is neither True nor False"),
        ("wait_timeout", "soon", "wait_timeout: 'soon' is not a duration. Use 90s, 30m or 2h."),
        ("exclude_data_volume_ids", ["vol-1"], "exclude_data_volume_ids: 'vol-1' is not a volume id"),
        ("tags", {"aws:x": "y"}, "tags: tag key 'aws:x'"),
        ("description", "x" * 256, "description: it has 256 characters"),
    ],
)
def test_an_option_with_an_invalid_value_is_refused_in_one_line(option: str, value: Any, said: str) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(pulumi.RunError) as refused:
        backup_before_change(**options)
    [line] = str(refused.value).splitlines()
    assert line.startswith("InputError: reading ")
    assert said in line
