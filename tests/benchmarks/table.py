"""The speed table of the kernels' contract, each bound beside what is measured.

    python -m tests.benchmarks.table --rows floor dual

Everything is drawn anew in each run, and checked once against ``scipy.sparse`` in float64 before it is timed. What is
compared is timed by turns, in one process on two cores; a value is the median of the rounds, a ratio the median of the
ratios within a round. One thread is a second process on one core, which takes its turns with the first. Prints,
asserts nothing about speed. The products beside brainevent are in ``products.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.products import facts
from tests.benchmarks.timing import cache, use_cores

if TYPE_CHECKING:
    from tests.benchmarks.measures import Figure

CORES = 2  # of the machine that the contract speaks of
LARGE = "random"  # needs gigabytes and minutes
HEAD = "| row | case | measured | bound | | beside |\n| --- | --- | --: | --: | --- | --- |"


def line(row: str, figure: Figure) -> str:
    """A line of the table in Markdown."""
    at_least = figure.bound.startswith("≥")
    bound = float(figure.bound[1:])
    holds = figure.value >= bound if at_least else figure.value <= bound
    measured, limit = f"{figure.value:.3g} {figure.unit}", f"{figure.bound[0]} {bound:g}"
    return (
        f"| {row} | {figure.case} | {measured} | {limit} | {'holds' if holds else 'does not hold'} | {figure.beside} |"
    )


def main() -> None:
    """Measure the rows that are asked for and write the table."""
    use_cores(CORES)
    from tests.benchmarks.measures import ROWS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="samples of each function (default: 15)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, help=f"what to measure (default: all but {LARGE})")
    parser.add_argument("--large", action="store_true", help=f"measure {LARGE}, too")
    parser.add_argument("--into", type=Path, default=Path("build/benchmarks"), help="the folder of table.md")
    chosen = parser.parse_args()
    rows = chosen.rows or [row for row in ROWS if row != LARGE or chosen.large]

    sizes = f"caches of {cache(2):,} and {cache(3):,} KiB"
    lines = [f"Medians of {chosen.rounds}. {facts(CORES)}; {sizes}\n", HEAD]
    print(*lines, sep="\n", flush=True)
    for row in rows:
        for figure in ROWS[row](chosen.rounds):
            lines.append(line(row, figure))
            print(lines[-1], flush=True)
    chosen.into.mkdir(parents=True, exist_ok=True)
    (chosen.into / "table.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
