"""What snapset shows, made fit for it: in one line, and without secrets.

Whatever leaves the process goes through `clean`.
"""

from __future__ import annotations

import html
import json
import os
import re
import sys
import traceback
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

# Set to anything, errors come with their tracebacks.
DEBUG = "SNAPSET_DEBUG"

_BLANK = "\t\n\v\f\r\x85\u2028\u2029"
# Control characters, format characters (bidi among them), and what UTF-8 can't encode.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn")
# A runner of GitHub obeys it anywhere in a line.
_COMMAND = "##["

_COVER = "****"
_INSTEAD = "[secret]"
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
# A shorter string may be a part of any word: it is hidden only where it stands alone.
_SHORTEST = 5
# Shorter credentials are a test's, such as `testing`, and words of its own.
_SHORTEST_CREDENTIAL = 8


class _Hidden:
    """The secrets that this process has met, beside those of its environment."""

    values: frozenset[str] = frozenset()


def hide(value: Any) -> None:
    """From here on, show `[secret]` in place of each string in this value, however Python or AWS writes it."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            hide(item)
    elif not isinstance(value, bool) and value is not None and str(value).strip():
        _Hidden.values |= {str(value)}


def hide_credentials(*values: str | None) -> None:
    """From here on, hide these, too; see `hide`."""
    hide([value for value in values if value and len(value) >= _SHORTEST_CREDENTIAL])


def clean(text: str) -> str:
    r"""Return the text in one line and without secrets.

    An escape such as `\x1b` stands in place of what a terminal would obey or hide.
    """
    return _in_one_line(_without_secrets(text))


def show_traceback() -> None:
    """Print the traceback of the exception that is being handled to stderr, if `SNAPSET_DEBUG` is set."""
    if os.environ.get(DEBUG):
        for line in traceback.format_exc().splitlines():
            sys.stderr.write(f"{clean(line)}\n")
        sys.stderr.flush()


def _in_one_line(text: str) -> str:
    return "".join(map(_clean_character, text)).replace(_COMMAND, r"##\x5b")


def _clean_character(character: str) -> str:
    if character in _BLANK:
        return " "
    if unicodedata.category(character) in _HIDDEN:
        return character.encode("unicode-escape").decode("ascii")
    return character


def _without_secrets(text: str) -> str:
    text = _QUERY.sub(rf"\1{_COVER}", _USER.sub(rf"\1{_COVER}@", text))
    # The longest first: a secret may be a part of another.
    for secret in sorted(_Hidden.values | _environments_own(), key=len, reverse=True):
        for form in _forms_of(secret):
            if len(form) >= _SHORTEST:
                text = text.replace(form, _INSTEAD)
            elif form in text:
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", _INSTEAD, text)
    return text


def _environments_own() -> set[str]:
    found = {os.environ.get(name, "") for name in _SECRETS}
    with suppress(ValueError):
        password = urlsplit(os.environ.get("PULUMI_BACKEND_URL", "")).password or ""
        found |= {password, unquote(password)}
    return {secret for secret in found if len(secret) >= _SHORTEST_CREDENTIAL}


@lru_cache(maxsize=4096)
def _forms_of(secret: str) -> list[str]:
    """Return how messages may spell the secret: as it is, in one line, quoted by Python, in JSON, XML or a URL.

    The longest comes first: a form may be a part of another.
    """
    encoded = secret.encode("utf-8", "surrogatepass")
    # With a double quote before it, Python quotes with single ones.
    quoted = [repr('"' + secret)[2:-1], repr(b'"' + encoded)[3:-1]]
    forms = {
        secret,
        secret.strip(),
        " ".join(secret.split()),
        _in_one_line(secret),
        *quoted,
        *(form.replace("\\'", "'") for form in quoted),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        html.escape(secret),
        quote(encoded),
        quote(encoded, safe=""),
        quote_plus(encoded),
    }
    return sorted(forms - {""}, key=len, reverse=True)
