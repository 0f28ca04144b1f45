"""Leave credentials out of what the engine says: those in URLs, and those in the environment."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

_HIDDEN = "****"
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


def redact(text: str) -> str:
    """Return the text without the credentials of URLs, and without the secrets of the environment."""
    for secret in _secrets():
        text = text.replace(secret, _HIDDEN)
    return _QUERY.sub(rf"\1{_HIDDEN}", _USER.sub(rf"\1{_HIDDEN}@", text))


def _secrets() -> list[str]:
    found = [os.environ.get(name, "") for name in _SECRETS]
    try:
        password = urlsplit(os.environ.get("PULUMI_BACKEND_URL", "")).password or ""
    except ValueError:
        password = ""
    found += [password, unquote(password)]
    # The longest first: a secret may be a part of another.
    return sorted({secret for secret in found if len(secret) >= _SHORTEST}, key=len, reverse=True)
