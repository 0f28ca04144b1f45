"""`python -m snapset.emulator`: serve the embedded EC2."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import botocore.session

from .life import FOREVER
from .person import serve_person


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m snapset.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="default: a free port")
    parser.add_argument(
        "--snapshot-seconds", type=_seconds, default=0.0, help="how long snapshots stay pending; may be forever"
    )
    parser.add_argument(
        "--visibility-seconds", type=_seconds, default=0.0, help="until DescribeSnapshots shows a new snapshot"
    )
    parser.add_argument("--region", default="us-east-1", help="for requests that name no Region")
    parser.add_argument(
        "--with-parent", type=int, nargs="?", const=os.getppid(), metavar="PID", help="exit when this parent exits"
    )
    parser.add_argument("--for-a-person", action="store_true", help="print what to export, not a line of JSON")
    parser.add_argument("--seed", action="store_true", help="for a person: launch an instance with data volumes")
    for name in ("--deny", "--lose-answer", "--throttle"):
        parser.add_argument(name, action="append", default=[], metavar="ACTION", help="for a person: a fault")
    arguments = parser.parse_args()
    if arguments.for_a_person:
        sys.exit(serve_person(arguments))

    # moto reads this when it is imported. Its stock images would make every region take seconds to start, and their
    # snapshots would be in every list.
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    with _one_botocore_session():
        from .server import serve
        from .world import Settings

    serve(
        port=arguments.port,
        settings=Settings(
            snapshot_seconds=arguments.snapshot_seconds, visibility_seconds=arguments.visibility_seconds
        ),
        region=arguments.region,
        parent=arguments.with_parent,
    )


@contextmanager
def _one_botocore_session() -> Iterator[None]:
    """Make all boto3 sessions that the block creates share one botocore session.

    Importing moto creates three. Each would parse botocore's table of endpoints again: a third of the start-up time.
    """
    make_session = botocore.session.get_session
    shared = make_session()
    botocore.session.get_session = lambda env_vars=None: shared
    try:
        yield
    finally:
        botocore.session.get_session = make_session


def _seconds(text: str) -> float:
    seconds = FOREVER if text == "forever" else float(text)
    if not seconds >= 0:
        raise ValueError(text)
    return seconds


if __name__ == "__main__":
    main()
