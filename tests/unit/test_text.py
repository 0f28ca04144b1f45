"""`clean`: a text of somebody else's in one line that a terminal shows as it is, without secrets."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from html import escape
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset.text import clean, hide, hide_credentials


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


AWKWARD = [
    "plain-secret",
    "with\nline end\n",
    "tab\there",
    "back\\slash",
    "quo'te",
    'quo"te',
    "both'\"",
    "ümläut <&>",
    "a b+c/d?",
]


@pytest.mark.parametrize("secret", AWKWARD)
@pytest.mark.parametrize(
    "write",
    [
        str,
        repr,
        str.strip,
        json.dumps,
        escape,
        quote,
        lambda secret: repr(f"it's {secret}"),
        lambda secret: f'Value "{" ".join(secret.split())}" is not valid',
        lambda secret: str(ValueError("Invalid header value", secret.encode())),
        lambda secret: clean(f"x{secret}y"),
    ],
)
def test_a_secret_is_hidden_however_it_is_written(write: Callable[[str], str], secret: str) -> None:
    written = write(secret)
    hide([{"key": secret}])
    shown = clean(f"tag {written}: no")
    assert "[secret]" in shown
    for part in secret.replace("\\", " ").replace("'", " ").replace('"', " ").split():
        assert len(part) < 5 or part not in shown


def test_a_short_secret_is_hidden_where_it_stands_alone_only() -> None:
    hide(["abc", 42, None, True, "", " "])
    assert clean("abc 'abc' abcd 42 421 True") == "[secret] '[secret]' abcd [secret] 421 True"


def test_a_tests_own_credentials_are_words() -> None:
    hide_credentials("testing", None, "IQoJb3JpZ2luX2VjEXAMPLE\r\n")
    assert clean("user/testing b'IQoJb3JpZ2luX2VjEXAMPLE\\r\\n'") == "user/testing b'[secret]'"
