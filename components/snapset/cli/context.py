"""What a command runs in: its connection to EC2, and the one JSON document that it prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from snapset import errors, rules
from snapset.cli.options import check
from snapset.cli.output import print_error, print_json, print_line
from snapset.retry import Say, silent

if TYPE_CHECKING:
    from snapset.aws.ec2 import Ec2


INTERRUPTED = 130


@contextmanager
def one_document(document: dict[str, Any], *, as_json: bool) -> Iterator[None]:
    """Print the document of a `--json` run however the block ends, with the error if it fails."""
    try:
        yield
    except (KeyboardInterrupt, typer.Abort) as ended:
        if isinstance(ended, typer.Abort):
            # The question has no line end.
            print_line("")
        document["error"] = {"type": "Interrupted", "message": "interrupted"}
        print_error("interrupted: run it again to go on.")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        if not isinstance(error, typer.Exit):
            document["error"] = {"type": type(error).__name__, "message": str(error)}
        raise
    finally:
        if as_json:
            print_json(document)


def find_region_of(region: str | None, profile: str | None) -> str:
    """Return this Region, or the one that the profile or the environment names.

    Raises:
        InputError: `region` is not the name of a Region, or no Region is set anywhere.
    """
    from snapset.aws.session import find_region
    from snapset.aws.settings import AwsSettings

    check("--region", region, rules.region)
    return find_region(AwsSettings(region=region, profile=profile))


def find_matching(ec2: Ec2, filters: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the instances, running or stopped, that match the filters.

    Raises:
        NotFoundError: there is none, so that a wrong filter is noticed.
    """
    if found := ec2.find_instances(filters):
        return found
    shown = "".join(f" {name}={','.join(values)}" for name, values in filters.items())
    raise errors.NotFoundError(
        f"looking for instances in {ec2.settings.region}: none that is running or stopped matches{shown}. "
        "Check the filter, the Region and the account."
    )


def connect_to(region: str | None, profile: str | None, *, say: Say = silent) -> Ec2:
    """Return the EC2 of this Region, or of the one that the profile or the environment names.

    Raises:
        InputError: the Region is not valid, or there is none; or a limit in the environment is not valid.
    """
    from snapset.aws.ec2 import connect
    from snapset.aws.settings import AwsSettings

    return connect(AwsSettings(region=find_region_of(region, profile), profile=profile), say=say)
