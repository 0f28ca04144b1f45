"""`snapset ec2`: an EC2 on this machine, to try everything on without an AWS account."""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from snapset import errors

# For programs of the user's own: snapset does not call these.
_EBS_DIRECT = ("GetSnapshotBlock", "ListChangedBlocks", "ListSnapshotBlocks")

EXIT_CODES = "Exit codes: 0 ended by a signal; 1 it did not start; 2 bad usage or input, or the extra is missing."


def ec2(
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port on 127.0.0.1; 0: a free one.")
    ] = 5999,
    seed: Annotated[
        bool, typer.Option("--seed", help="Launch an instance with a root and two data volumes, a file on each.")
    ] = False,
    snapshot_seconds: Annotated[
        float, typer.Option(metavar="N", min=0, help="How long snapshots stay pending.")
    ] = 5.0,
    visibility_seconds: Annotated[
        float, typer.Option(metavar="N", min=0, help="How long DescribeSnapshots leaves a new snapshot out.")
    ] = 0.0,
    deny: Annotated[
        list[str] | None, typer.Option(metavar="ACTION", help="Refuse this call: DeleteSnapshot; repeatable.")
    ] = None,
    lose_answer: Annotated[
        list[str] | None,
        typer.Option(metavar="ACTION", help="Carry out the first such call, and close its connection; repeatable."),
    ] = None,
    throttle: Annotated[
        list[str] | None,
        typer.Option(metavar="ACTION", help="Answer three such calls with RequestLimitExceeded; repeatable."),
    ] = None,
) -> None:
    """Serve an EC2 on this machine until Ctrl-C, and print the lines to export.

    It is moto made strict: nothing leaves the machine, and nothing is kept. Needs the extra `demo`: moto.

    Example: snapset ec2 --seed
    """
    if not find_spec("moto"):
        raise errors.InputError("starting an EC2: moto is not installed. Install it: pip install 'snapset[demo]'.")
    from snapset.aws.api_model import OPERATIONS

    options = ["--for-a-person", f"--port={port}", f"--snapshot-seconds={snapshot_seconds}"]
    options += [f"--visibility-seconds={visibility_seconds}", *(["--seed"] if seed else [])]
    for name, actions in (("deny", deny), ("lose-answer", lose_answer), ("throttle", throttle)):
        for action in actions or []:
            if action not in (*OPERATIONS, *_EBS_DIRECT):
                raise errors.InputError(
                    f"reading --{name}: snapset makes no call {action}, but {', '.join(OPERATIONS)}. EBS direct has "
                    f"{', '.join(_EBS_DIRECT)}."
                )
            options.append(f"--{name}={action}")
    sys.argv[1:] = options
    runpy.run_module("snapset.emulator", run_name="__main__", alter_sys=True)
