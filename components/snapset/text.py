"""Texts of others, such as tags and AWS's messages, made fit to show in one line."""

from __future__ import annotations

import unicodedata

_BLANK = "\t\n\v\f\r\x85\u2028\u2029"
# Control characters, format characters (bidi among them), and what UTF-8 can't encode.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn")


def clean(text: str) -> str:
    r"""Return the text in one line, with an escape such as `\x1b` in place of what a terminal would obey or hide."""
    return "".join(map(_clean_character, text))


def _clean_character(character: str) -> str:
    if character in _BLANK:
        return " "
    if unicodedata.category(character) in _HIDDEN:
        return character.encode("unicode-escape").decode("ascii")
    return character
