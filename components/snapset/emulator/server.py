"""The server process: EC2, EBS direct, STS and S3 on the loopback."""

import json
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from moto.core.responses import BaseResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from . import direct, models, speed
from .middleware import FaultMiddleware
from .world import WORLD, Settings

LOOPBACK = "127.0.0.1"
_LOCAL_NAMES = (LOOPBACK, "localhost", "::1")
_PARENT_POLL_SECONDS = 0.2


class _QuietRequestHandler(MotoRequestHandler):  # type: ignore[misc]
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing here: the call log replaces it."""


class _LocalOnly:
    """Refuses what a web page sends: one of another site, or one whose name was bound to the loopback."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer the request, or refuse it."""
        host = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname or ""
        is_local = host in _LOCAL_NAMES or host.endswith(".localhost")
        # Browsers send these, and AWS's clients do not.
        is_page = "HTTP_ORIGIN" in environ or environ.get("HTTP_SEC_FETCH_SITE", "none") != "none"
        if is_local and not is_page:
            return self._app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"The embedded EC2 answers programs on this machine, and no web page.\n"]


def serve(*, port: int, settings: Settings, region: str, parent: int | None) -> NoReturn:
    """Serve until SIGTERM or SIGINT, or until the parent process exits if its id is given.

    Prints `{"endpoint": "http://127.0.0.1:PORT"}` when it is ready to answer; port 0 takes a free port.
    """
    WORLD.begin(settings)
    models.install()
    direct.install()
    speed.install()
    BaseResponse.default_region = region
    app = _LocalOnly(FaultMiddleware(DomainDispatcherApplication(create_backend_app)))
    server = make_server(LOOPBACK, port, app, threaded=True, request_handler=_QuietRequestHandler)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    if parent is not None:
        threading.Thread(target=_exit_without, args=(parent,), daemon=True).start()
    sys.stdout.write(json.dumps({"endpoint": f"http://{LOOPBACK}:{server.server_port}"}) + "\n")
    sys.stdout.flush()
    server.serve_forever()
    sys.exit(0)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    # There is nothing to save or clean up, and exiting normally would wait for calls that a script delays.
    os._exit(0)


def _exit_without(parent: int) -> None:
    # POSIX gives a process another parent when its own exits.
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_SECONDS)
    os._exit(0)
