"""`clean`: a text of somebody else's in one line that a terminal shows as it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset.text import clean


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ümläut 日本 \U0001f600 [red]x[/red]", "plain ümläut 日本 \U0001f600 [red]x[/red]"),
        ("\x1b[2J\x1b]0;x\x07", r"\x1b[2J\x1b]0;x\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202eabc\u200b", r"\u202eabc\u200b"),
        ("a\nb\rc\td\u2028e", "a b c d e"),
        ("::error::x\n::set-output name=a::b", "::error::x ::set-output name=a::b"),
        ("\udcff", r"\udcff"),
        ("x ##[set-output name=a]b", r"x ##\x5bset-output name=a]b"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text(st.characters(codec=None)))
def test_whatever_is_cleaned_is_one_printable_line_and_stays_as_it_is(text: str) -> None:
    shown = clean(text)
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert clean(shown) == shown
    shown.encode()
