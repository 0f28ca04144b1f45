"""`python -m snapset.emulator`: serve the embedded EC2."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

import botocore.session

from .life import FOREVER


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m snapset.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument(
        "--snapshot-seconds", type=_seconds, default=0.0, help="from pending to completed, or forever"
    )
    parser.add_argument(
        "--visibility-seconds", type=_seconds, default=0.0, help="until DescribeSnapshots shows a snapshot"
    )
    parser.add_argument("--region", default="us-east-1", help="for requests that name none")
    parser.add_argument(
        "--with-parent", type=int, nargs="?", const=os.getppid(), metavar="PID", help="end with this process"
    )
    arguments = parser.parse_args()

    # moto reads this when it is imported; with its stock images each region's start takes seconds and their snapshots
    # are in every list.
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
    """Let boto3's sessions share one of botocore's meanwhile.

    moto's import makes three, and each would parse botocore's table of endpoints anew: a third of the whole start.
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
