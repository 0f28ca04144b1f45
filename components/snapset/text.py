"""Texts of others, such as tags and AWS's messages, made fit to show: in one line, and without credentials."""

from __future__ import annotations

import os
import re
import unicodedata
from urllib.parse import unquote, urlsplit

_BLANK = "\t\n\v\f\r\x85\u2028\u2029"
# Control characters, format characters (bidi among them), and what UTF-8 can't encode.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn")
# A runner of GitHub obeys it anywhere in a line.
_COMMAND = "##["

_COVER = "****"
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s\"'`]*@", re.IGNORECASE)
_QUERY = re.compile(r"([?&][^=\s&]*(?:key|token|secret|passw|pwd|sig|sas|cred)[^=\s&]*=)[^&\s\"'`]+", re.IGNORECASE)
_SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "PULUMI_ACCESS_TOKEN",
    "PULUMI_CONFIG_PASSPHRASE",
)
# A shorter text is no secret, and may be a part of any word.
_SHORTEST = 5


def clean(text: str) -> str:
    r"""Return the text in one line, with an escape such as `\x1b` in place of what a terminal would obey or hide."""
    return "".join(map(_clean_character, text)).replace(_COMMAND, r"##\x5b")


def _clean_character(character: str) -> str:
    if character in _BLANK:
        return " "
    if unicodedata.category(character) in _HIDDEN:
        return character.encode("unicode-escape").decode("ascii")
    return character


def redact(text: str) -> str:
    """Return the text without the credentials of URLs, and without the secrets of the environment."""
    for secret in _secrets():
        text = text.replace(secret, _COVER)
    return _QUERY.sub(rf"\1{_COVER}", _USER.sub(rf"\1{_COVER}@", text))


def _secrets() -> list[str]:
    found = [os.environ.get(name, "") for name in _SECRETS]
    try:
        password = urlsplit(os.environ.get("PULUMI_BACKEND_URL", "")).password or ""
    except ValueError:
        password = ""
    found += [password, unquote(password)]
    # The longest first: a secret may be a part of another.
    return sorted({secret for secret in found if len(secret) >= _SHORTEST}, key=len, reverse=True)
