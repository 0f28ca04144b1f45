"""What a command runs in: its connection to EC2, and the one JSON document that it prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from snapset import errors, rules
from snapset.cli.options import check
from snapset.cli.output import print_error, print_json
from snapset.cli.words import in_options

if TYPE_CHECKING:
    from snapset.aws.ec2 import Ec2
    from snapset.retry import Say


INTERRUPTED = 130


@contextmanager
def one_document(
    document: dict[str, Any], *, as_json: bool, words: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Print the document of a `--json` run however the block ends, with the error if it fails.

    Args:
        document: what is known so far.
        as_json: whether to print it.
        words: what the inputs that an error may name are called here.
    """
    try:
        with _speaking(words or {}):
            yield
    except KeyboardInterrupt:
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


@contextmanager
def _speaking(words: Mapping[str, str]) -> Iterator[None]:
    try:
        yield
    except errors.SnapsetError as error:
        if (text := in_options(str(error), words)) == str(error):
            raise
        raise type(error)(text, code=error.code) from error


def connect_to(region: str | None, profile: str | None) -> Ec2:
    """Return the EC2 of this Region, or of the one that the profile or the environment names.

    Raises:
        InputError: `region` is not the name of a Region, or no Region is set anywhere.
    """
    from snapset.aws.ec2 import connect
    from snapset.aws.session import find_region
    from snapset.aws.settings import AwsSettings

    if region is not None:
        check("--region", region, rules.region)
    settings = AwsSettings(region=region, profile=profile)
    return connect(settings.in_region(find_region(settings)))


def find_matching(ec2: Ec2, filters: Mapping[str, list[str]], say: Say) -> list[str]:
    """Return the ids of the instances that are running or stopped and match EC2's filters."""
    from snapset.retry import Retry

    doing = f"looking for instances in {ec2.settings.region}"
    return Retry.from_environment(say).while_throttled(lambda: ec2.find_instances(filters), doing=doing)
