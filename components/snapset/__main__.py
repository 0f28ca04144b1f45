"""The `snapset` command, and `python -m snapset`: signals are heeded before anything else is loaded."""

from __future__ import annotations

import json
import os
import sys

from snapset.end import heed_signals

_INTERRUPTED = 130


def main() -> None:
    """Run the command line. Interrupted while it is loaded, it ends as it does later."""
    heed_signals()
    try:
        from snapset.cli import main as run_command

        run_command()
    except KeyboardInterrupt:
        os.write(2, b"snapset: interrupted\n")
        if "--json" in sys.argv:
            error = {"type": "Interrupted", "message": "interrupted"}
            os.write(1, json.dumps({"version": 1, "error": error}, indent=2).encode() + b"\n")
        os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
