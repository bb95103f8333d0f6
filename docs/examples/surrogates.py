"""Surrogate derivatives of a spike.

The step that makes a spike has no useful derivative. These take its place, each for a potential that is 1 below its
threshold at rest, at the steepness that it has by default.

    python surrogates.py --plot surrogates.png
"""

from __future__ import annotations

import argparse
import sys
from typing import Literal

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from spikax_kernels import spike

Name = Literal["sigmoid", "fast_sigmoid", "atan", "triangle", "gaussian"]
COLORS: dict[Name, str] = {
    "sigmoid": "#3b6ea5",
    "fast_sigmoid": "#b5402f",
    "atan": "#5b8c5a",
    "triangle": "#c98b2b",
    "gaussian": "#6d5a8c",
}


def main(arguments: list[str] | None = None) -> int:
    """Draw the derivatives, and say how wide and how large each is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="PATH", default="surrogates.png", help="default: surrogates.png")
    options = parser.parse_args(arguments)

    x = jnp.linspace(-2, 2, 2001)
    fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained", dpi=200)
    print(f"{'surrogate':<14}{'at 0':>8}{'half width':>12}{'area':>8}   from -2 to 2")
    for name, color in COLORS.items():
        slope = np.asarray(jax.vmap(jax.grad(lambda v, name=name: spike(v, surrogate=name)))(x))
        half = 2 * x[np.flatnonzero(slope >= slope.max() / 2)[-1]]
        print(f"{name:<14}{slope.max():>8.2f}{half:>12.2f}{4 * slope.mean():>8.2f}")
        ax.plot(x, slope, color=color, label=name)
    ax.set(xlabel="Potential minus threshold", ylabel="Derivative", xlim=(-2, 2), ylim=(0, None))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    fig.savefig(options.plot)
    print(f"picture       {options.plot}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
