"""``python -m spikax_kernels precompile``: compile the CUDA kernels before they are needed, without a GPU."""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import sys

from ._errors import ArchitectureError, MissingExtraError
from .cuda._architecture import parse
from .cuda._cache import FOLDER_VARIABLE, folder, machine_code
from .ops._instances import programs


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status says whether all is there."""
    parser = argparse.ArgumentParser(prog="python -m spikax_kernels", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    precompile = commands.add_parser(
        "precompile",
        help="compile all CUDA kernels and keep them on disk",
        description="Compile the CUDA kernels of all operators and dtypes and keep them on disk, for a cluster whose "
        "machines share a home. No GPU is needed. It takes minutes.",
    )
    precompile.add_argument("--arch", required=True, metavar="LIST", help="compute capabilities, such as 80,90")
    options = parser.parse_args(arguments)
    try:
        architectures = parse(options.arch)
    except ArchitectureError as error:
        parser.error(str(error))
    where = folder()
    if where is None:
        parser.error(f"{FOLDER_VARIABLE} is empty, so nothing is kept on disk; unset it or name a folder")
    everything = [program for architecture in architectures for program in programs(architecture)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(machine_code, p.source, p.name, p.options, p.architectures[0]) for p in everything]
        try:
            for done, job in enumerate(concurrent.futures.as_completed(jobs), 1):
                job.result()
                if done % 50 == 0 or done == len(jobs):
                    print(f"{done} of {len(jobs)}", file=sys.stderr)  # noqa: T201
        except MissingExtraError as error:
            pool.shutdown(cancel_futures=True)
            parser.exit(1, f"{error}\n")
    print(f"{len(jobs)} programs for sm_{', sm_'.join(map(str, architectures))} in {where}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
