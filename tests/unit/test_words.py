"""`snapset.cli.words`: messages of the command line name its options."""

from __future__ import annotations

import pytest
from snapset.cli.words import BACKUP, RESTORE, in_options


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("reading instance_id: 'i-1' is not an id.", BACKUP, "reading INSTANCE: 'i-1' is not an id."),
        ("reading instance_id: 'i-1' is not an id.", RESTORE, "reading --to: 'i-1' is not an id."),
        ("reading tags: 40 tags are too many.", BACKUP, "reading --tag: 40 tags are too many."),
        ("reading volume_type: 'gp9' is none.", RESTORE, "reading --volume-type: 'gp9' is none."),
        (
            "it is its root: exclude_boot_volume leaves it out.",
            RESTORE,
            "it is its root: --exclude-boot leaves it out.",
        ),
        ("2 of 3 are left. Set allow_incomplete.", RESTORE, "2 of 3 are left. Set --allow-incomplete."),
        ("gp2 takes none; set volume_type to gp3.", RESTORE, "gp2 takes none; set --volume-type to gp3."),
        ("describing snapshots in us-east-1: no tags.", BACKUP, "describing snapshots in us-east-1: no tags."),
        ("creating x: Code: some_other_name.", BACKUP, "creating x: Code: some_other_name."),
        ("reading --timeout: '5x' is not a duration.", BACKUP, "reading --timeout: '5x' is not a duration."),
        ("reading the set: give one.", RESTORE, "reading the set: give one."),
    ],
)
def test_a_message_names_the_option(text: str, words: dict[str, str], said: str) -> None:
    assert in_options(text, words) == said
