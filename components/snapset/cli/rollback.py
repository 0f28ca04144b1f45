"""`snapset rollback`: an instance back on the volumes of a set, in place. No engine, and no state."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapset import errors, rules
from snapset.cli.context import connect_to, one_document
from snapset.cli.options import ExcludeBoot, Json, Profile, Region, check, check_set_id
from snapset.cli.output import print_line, print_rollback, progress
from snapset.durations import parse_duration

if TYPE_CHECKING:
    from snapset.aws.ec2 import Ec2
    from snapset.restore.rollback_plan import RollbackInputs, RollbackPlan

EXIT_CODES = (
    "Exit codes: 0 the instance has the set's volumes, and the power state that it had; 1 failed; 2 bad usage or "
    "input, something stands in the way, or not a terminal; 3 not permitted; 4 the set failed or the wait timed out."
)


def rollback(
    instance: Annotated[str, typer.Argument(metavar="INSTANCE", help="Id of the instance.")],
    change_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Back to before this change: to the set that was taken for it."),
    ] = None,
    set_: Annotated[
        str | None,
        typer.Option("--set", metavar="SET", help="Or: back to this set; else the newest completed one."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(metavar="OTHER", help="The set is one of this instance, which may be gone; root goes to root."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="With --of: although it is not known whether the root fits the instance."),
    ] = False,
    exclude_boot: ExcludeBoot = False,
    exclude_volume: Annotated[
        list[str] | None, typer.Option(metavar="VOL", help="Leave this volume as it is; repeatable.")
    ] = None,
    no_safety_set: Annotated[
        bool, typer.Option("--no-safety-set", help="Take no set of what is there now before it is replaced.")
    ] = False,
    delete_replaced: Annotated[
        bool,
        typer.Option("--delete-replaced", help="Delete the replaced volumes; else they stay, detached."),
    ] = False,
    delete_leftovers: Annotated[
        bool,
        typer.Option(
            "--delete-leftovers",
            help="Delete what earlier rollbacks made and never attached; else it is named.",
        ),
    ] = False,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--start-over",
            help="Go on with a rollback of long ago that was cut off, or forget it; else it is asked about.",
        ),
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only show the plan.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Begin without asking.")] = False,
    timeout: Annotated[
        str, typer.Option(help="How long each step may take, whatever AWS answers meanwhile: 90s, 30m.")
    ] = "30m",
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """Put an instance back on the volumes of a set; run again, it goes on where it was cut off.

    New volumes are made, a safety set of what is there now is taken, the instance is stopped, the volumes are
    swapped, and it is started if it ran. The replaced volumes stay.

    Example: snapset rollback i-0123456789abcdef0 --change-id "$GIT_SHA"
    """
    from snapset.restore.rollback import roll_back
    from snapset.restore.rollback_plan import RollbackInputs

    document: dict[str, Any] = {"rollback": None}
    with one_document(document, as_json=json_):
        check("INSTANCE", instance, rules.instance_id)
        if set_ is not None:
            check_set_id(set_, name="--set")
        check("--of", of, rules.instance_id)
        check("--change-id", change_id, rules.change_id)
        if set_ is not None and change_id is not None:
            raise errors.InputError("reading the set: give one of --set and --change-id.")
        if delete_replaced and no_safety_set:
            raise errors.InputError(
                "reading --delete-replaced: with --no-safety-set nothing would have what is on them. Leave one out."
            )
        wanted = RollbackInputs(
            instance_id=instance,
            of=of,
            set_id=set_,
            change_id=change_id,
            force=force,
            exclude_boot_volume=exclude_boot,
            exclude_volume_ids=tuple(exclude_volume or []),
            safety_set=not no_safety_set,
            delete_replaced=delete_replaced,
            delete_leftovers=delete_leftovers,
            resume=resume,
            timeout=parse_duration(timeout, name="--timeout"),
        )
        ec2 = connect_to(region, profile)
        plan = _plan(ec2, wanted, document)
        document["rollback"] = plan.record()
        if not preview:
            if not plan.is_done and (plan.doubt or not yes):
                _ask(plan)
            with progress(f"rolling back {instance}", keep_lines=True) as say:
                roll_back(ec2.saying(say), plan, report=lambda so_far: document.update(rollback=so_far))
    if not json_:
        print_rollback(document["rollback"], plan, is_done=not preview)


def _plan(ec2: Ec2, wanted: RollbackInputs, document: dict[str, Any]) -> RollbackPlan:
    """Return the plan. Of an instance that is gone, show the commands that bring it back."""
    from snapset.restore.rollback_plan import plan_rollback

    try:
        with progress(f"inspecting {wanted.instance_id}") as say:
            return plan_rollback(ec2.saying(say), wanted)
    except errors.InstanceGoneError as error:
        document["way_back"] = list(error.way_back)
        for line in error.way_back:
            print_line(line)
        raise


def _ask(plan: RollbackPlan) -> None:
    print_rollback(plan.record(), plan, is_done=False, stderr=True)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        why = plan.doubt or "not a terminal, so I can't ask. Add --yes"
        raise errors.InputError(f"rolling back: {why}.")
    if not typer.confirm("Go on?", err=True):
        raise errors.SnapsetError("rolling back: the answer was no. Nothing is changed.")
