"""XLA records the launches of the operators in CUDA graphs: shown by what it says of a program that it has compiled.

    python -m tests.cuda.graphs

Needs a GPU.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

PRODUCTS = 8
"""XLA leaves programs of few launches as they are, see its flag ``xla_gpu_graph_min_graph_size``."""

folder = tempfile.mkdtemp()
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder} --xla_dump_hlo_as_text"

import jax
import jax.numpy as jnp

from spikax_kernels import CSR


def main() -> int:
    """The exit status says whether all calls are in a graph."""
    A = CSR.random(jax.random.key(0), (1_000, 1_000), fan_out=10)

    @jax.jit
    def chain(x: jax.Array) -> jax.Array:
        for _ in range(PRODUCTS):
            x = (x @ A > 0).astype(jnp.float32)
        return x

    jax.block_until_ready(chain(jnp.ones(1_000)))
    files = sorted(Path(folder).glob("*jit_chain*thunk_sequence_after_thunk_passes*.txt"))
    text = "".join(file.read_text() for file in files)
    graphs = re.findall(r"^\d+: kCommandBuffer", text, re.MULTILINE)
    apart = re.findall(r"^\d+: kCustomCall", text, re.MULTILINE)
    print(f"{PRODUCTS} products: {len(graphs)} CUDA graphs, {len(apart)} calls outside of them")
    return not graphs or bool(apart)


if __name__ == "__main__":
    sys.exit(main())
