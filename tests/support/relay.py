"""A TCP relay in front of the embedded EC2 that refuses connections after a given number of calls."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import SplitResult, urlsplit


@contextmanager
def refusing(endpoint: str, *, after: int) -> Iterator[str]:
    """Yield an endpoint that passes on the first `after` connections and refuses all later ones.

    The embedded EC2 closes each connection after its answer, so one connection is one call.
    """
    # The holder is bound but does not listen: no other process gets the port, and connections are refused.
    with closing(_bound(0)) as holder, closing(_bound(holder.getsockname()[1])) as listener:
        if after:
            listener.listen()
        worker = threading.Thread(target=_relay, args=(listener, after, urlsplit(endpoint)))
        worker.start()
        try:
            yield f"http://127.0.0.1:{holder.getsockname()[1]}"
        finally:
            # Wakes an accept() that still waits. It fails if the listener is closed or never listened.
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
            # Close before this call is answered, so that the next one is certainly refused.
            listener.close()
        with client, socket.create_connection((target.hostname, target.port or 0)) as server:
            sending = threading.Thread(target=_copy, args=(client, server))
            sending.start()
            _copy(server, client)
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            sending.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    # Either side may close its connection; the copy ends then.
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
