"""Run the stack program that the stack's config names: one of the files in `stacks/`."""

from importlib import import_module
from pathlib import Path

import pulumi

program = pulumi.Config().get("program") or "existing_instance"
known = sorted(path.stem for path in (Path(__file__).parent / "stacks").glob("*.py"))
if program not in known:
    raise pulumi.RunError(f"reading snapset:program: there is no stacks/{program}.py. Use one of {', '.join(known)}.")
import_module(f"stacks.{program}")
