"""Look in EC2 for what a change has already, while the rest of the run gets ready. Imports no Pulumi."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from snapset.aws.ec2 import connect
from snapset.pipeline.request import BackupRequest
from snapset.retry import Say
from snapset.sets import attempts
from snapset.sets.model import SnapshotSet
from snapset.sets.preflight import Inspection
from snapset.sets.served import find_served

Look = Future[tuple[dict[str, SnapshotSet], Inspection]]


def start_looking(request: BackupRequest, *, say: Say) -> Look:
    """Begin to look for the set that serves each instance; see `snapset.sets.served.find_served`."""
    look: Look = Future()

    def run() -> None:
        try:
            ec2, wanted = connect(request.settings, say=say), request.set_inputs()
            cut_off = attempts.cut_off_elsewhere()
            look.set_result(find_served(ec2, wanted, within=request.served_within, cut_off=cut_off))
        except BaseException as error:  # raised again where it is awaited
            look.set_exception(error)

    # Not a pool's: Python would wait for it at the end.
    threading.Thread(target=run, daemon=True).start()
    return look
