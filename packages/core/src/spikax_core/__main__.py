"""``python -m spikax_core``: the commands of this package."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from ._doctor import examine
from ._doctor_text import text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` (those of the process, if left out) name, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m spikax_core", description="The commands of spikax-core.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    doctor = commands.add_parser(
        "doctor",
        help="say what is installed, what it runs on and what is broken",
        description="Say what is installed, what it runs on and what is broken.",
        epilog="The exit status is 0 if all is well, 1 if a section has an error, 2 for a wrong command.",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    report = examine()
    _write(json.dumps(report, indent=2) if options.json else text(report))
    return 0 if report["ok"] else 1


def _write(content: str) -> None:
    if sys.stdout is None:  # as Python has it where the standard output is closed
        return
    try:
        sys.stdout.write(content + "\n")
        sys.stdout.flush()
    except OSError:
        # Nobody reads any more. Python would write what is left once again when it ends, and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
