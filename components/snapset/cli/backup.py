"""`snapset backup`: check the input, run the engine, show the sets."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from snapset import errors
from snapset.cli.output import error_record, print_error, print_json, print_sets, progress
from snapset.cli.reading import connect_to
from snapset.retry import parse_duration
from snapset.sets.inputs import problems_of

INTERRUPTED = 130


def parse_tags(pairs: Sequence[str]) -> dict[str, str]:
    """Return the tags in `K=V` texts.

    Raises:
        InputError: a text has no `=`, or a key is given twice.
    """
    tags: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise errors.InputError(f"reading --tag {pair!r}: there is no '='. Write it as KEY=VALUE.")
        if key in tags:
            raise errors.InputError(f"reading --tag {pair!r}: the key {key!r} is given twice.")
        tags[key] = value
    return tags


def parse_filters(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the filters in `NAME=VALUE[,VALUE]` texts, those of the same name as one that takes any of the values.

    Raises:
        InputError: a text has another form.
    """
    filters: dict[str, list[str]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if not name or not values:
            raise errors.InputError(f"reading --filter {text!r}: write it as NAME=VALUE, such as tag:app=web.")
        filters.setdefault(name, []).extend(values.split(","))
    return filters


def run_backup(
    instances: Sequence[str],
    *,
    filters: Sequence[str],
    inputs: Mapping[str, Any],
    change_id: str | None,
    stack: str | None,
    wait: bool,
    timeout: str,
    preview: bool,
    as_json: bool,
) -> None:
    """Take the sets and print them.

    Raises:
        InputError: the input can't be right; no engine was started.
        SnapsetError: what went wrong in the run.
    """
    seconds = parse_duration(timeout)
    wanted = parse_filters(filters)
    if not instances and not wanted:
        raise errors.InputError("reading the instances: there is none. Name one, or a --filter that finds some.")
    _check(instances, inputs, change_id)
    if wanted:
        instances = [*instances, *(each for each in _find_instances(wanted, inputs) if each not in instances)]

    from snapset.pipeline.backup import Backup
    from snapset.pipeline.request import BackupRequest, new_change_id

    request = BackupRequest(
        instance_ids=tuple(instances),
        change_id=change_id or new_change_id(),
        inputs=inputs,
        wait=wait,
        timeout=seconds,
        stack=stack,
        preview=preview,
    )
    failure: BaseException | None
    with progress("starting the engine") as say:
        run = Backup(request, report=say)
        failure = _run_to_the_end(run)
    sets = [run.sets[each] for each in instances if each in run.sets]
    if as_json:
        document: dict[str, Any] = {"sets": sets}
        if isinstance(failure, errors.SnapsetError):
            document["error"] = error_record(failure)
        print_json(document)
    else:
        print_sets(sets)
    if isinstance(failure, KeyboardInterrupt):
        _leave_interrupted(request.change_id, sets)
    if failure:
        if isinstance(failure, errors.WaitTimeoutError):
            print_error(f"run it again with --change-id {request.change_id} to wait for the same set")
        raise failure


def _check(instances: Sequence[str], inputs: Mapping[str, Any], change_id: str | None) -> None:
    for instance_id in instances:
        if instances.count(instance_id) > 1:
            raise errors.InputError(f"reading the instances: {instance_id} is listed twice.")
        for problem in problems_of({**inputs, "instance_id": instance_id}):
            raise errors.InputError(f"reading {problem.property}: {problem.reason}.")
    if change_id is not None and not change_id.strip():
        raise errors.InputError("reading --change-id: it is empty. Leave it out, or name the change.")
    if change_id is not None and not change_id.isprintable():
        raise errors.InputError(
            f"reading --change-id: {change_id!r} can't be printed. Name the change in plain text."
        )


def _find_instances(filters: Mapping[str, Sequence[str]], inputs: Mapping[str, Any]) -> list[str]:
    ec2 = connect_to(inputs.get("region"), None)
    if found := ec2.find_instances(filters):
        return found
    shown = " ".join(f"{name}={','.join(values)}" for name, values in filters.items())
    raise errors.NotFoundError(
        f"looking for instances in {ec2.settings.region}: none that is running or stopped matches {shown}. "
        "Check the filter, the Region and the account."
    )


def _run_to_the_end(run: Any) -> BaseException | None:
    """Run in a thread, so that an interrupt reaches the engine in order and its end is waited for."""
    failures: list[BaseException] = []
    # Not Thread.join(): once that is interrupted, Python before 3.13 takes the thread for ended.
    ended = threading.Event()

    def work() -> None:
        try:
            run.run()
        except BaseException as error:  # raised again by the caller
            failures.append(error)
        finally:
            ended.set()

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=work, daemon=True).start()
    try:
        ended.wait()
    except KeyboardInterrupt as interrupt:
        run.interrupt()
        ended.wait()
        return interrupt
    return failures[0] if failures else None


def _leave_interrupted(change_id: str, sets: Sequence[Mapping[str, Any]]) -> NoReturn:
    taken = ", ".join(each["set_id"] for each in sets)
    kept = f"{taken} is recorded and its snapshots go on" if taken else "no set was recorded"
    print_error(f"interrupted: {kept}. Run it again with --change-id {change_id} to take it up.")
    sys.exit(INTERRUPTED)
