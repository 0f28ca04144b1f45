"""A TCP relay in front of the embedded EC2, whose port refuses connections after so many."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import SplitResult, urlsplit


@contextmanager
def refusing(endpoint: str, *, after: int) -> Iterator[str]:
    """Yield an endpoint that is the given one for so many connections; from then on its port refuses them.

    The embedded EC2 closes each connection after its answer, so a connection is a call.
    """
    # Bound for as long as this lasts, without listening: nobody else gets the port, and who connects is refused.
    with closing(_bound(0)) as holder, closing(_bound(holder.getsockname()[1])) as listener:
        if after:
            listener.listen()
        worker = threading.Thread(target=_relay, args=(listener, after, urlsplit(endpoint)))
        worker.start()
        try:
            yield f"http://127.0.0.1:{holder.getsockname()[1]}"
        finally:
            # Wakes an accept() that still waits; otherwise the listener is closed already, or never listened.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            worker.join()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _relay(listener: socket.socket, count: int, target: SplitResult) -> None:
    for accepted in range(1, count + 1):
        try:
            client, _ = listener.accept()
        except OSError:
            return
        if accepted == count:
            # Before this call is answered, so that the next one is refused for certain.
            listener.close()
        with client, socket.create_connection((target.hostname, target.port or 0)) as server:
            sending = threading.Thread(target=_copy, args=(client, server))
            sending.start()
            _copy(server, client)
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            sending.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    # Ends with either side's connection.
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
