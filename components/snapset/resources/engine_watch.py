"""Is the engine still there that started this provider's process? A killed one leaves the process behind."""

from __future__ import annotations

import socket
import sys
import time

from snapset.end import end_now

_LOOK_SECONDS = 3


def engine_is_there(address: str | None = None) -> bool:
    """Tell whether something listens at the engine's address, HOST:PORT, which the process was started with."""
    host, _, port = (address or (sys.argv[1:] or [""])[0]).rpartition(":")
    if not port.isdigit():
        return True
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def end_with_engine(address: str | None = None) -> None:
    """End this process once its engine is gone."""
    while engine_is_there(address):
        time.sleep(_LOOK_SECONDS)
    end_now(1)
