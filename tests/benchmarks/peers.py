"""The product of spikes with a sparse matrix, as each library has it: what ``products.py`` times."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.experimental.sparse import BCOO, BCSR

from spikax_kernels import CSR

Array = np.ndarray[Any, Any]
DENSE = 5_000_000  # more elements than this are not made dense


class Arrays(NamedTuple):
    """One case: a matrix compressed by rows, and several draws of events, ``[draws, *lanes, rows]``."""

    data: Array
    indices: Array
    indptr: Array
    shape: tuple[int, int]
    events: Array

    @property
    def weights(self) -> Array:
        """One weight for each entry, as most libraries need it."""
        return np.broadcast_to(self.data, self.indices.shape)


class Peer(NamedTuple):
    """A product: what it is called with, one argument for each draw, and whether JAX can trace it."""

    call: Callable[[Any], Any]
    events: list[Any]
    traceable: bool = True


def ours(case: Arrays) -> Peer:
    """``spikes @ CSR``."""
    A = CSR(jnp.asarray(case.data), jnp.asarray(case.indices), jnp.asarray(case.indptr), shape=case.shape)
    return Peer(lambda x: x @ A, on_device(case))


def brainevent(case: Arrays) -> Peer:
    """``BinaryArray(spikes) @ brainevent.CSR``, on its default backend."""
    import brainevent

    arrays = tuple(map(jnp.asarray, (case.data, case.indices, case.indptr)))
    A = brainevent.CSR(arrays, shape=case.shape)
    peer = Peer(lambda x: brainevent.BinaryArray(x) @ A, on_device(case))
    # It keeps a workspace on the matrix, which would otherwise be a tracer of the first `jit`.
    peer.call(peer.events[0])
    return peer


def jax_bcoo(case: Arrays) -> Peer:
    """``BCOO``, of the values of the events."""
    row = np.repeat(np.arange(case.shape[0], dtype=np.int32), np.diff(case.indptr))
    places = jnp.asarray(np.stack([row, case.indices], axis=-1))
    A = BCOO((jnp.asarray(case.weights), places), shape=case.shape)
    return Peer(lambda x: x.astype(jnp.float32) @ A, on_device(case))


def jax_bcsr(case: Arrays) -> Peer:
    """``BCSR`` of the transpose, which JAX multiplies from the left only."""
    T = scipy.sparse.csr_array((case.weights, case.indices, case.indptr), shape=case.shape).T.tocsr()
    A = BCSR((jnp.asarray(T.data), jnp.asarray(T.indices), jnp.asarray(T.indptr)), shape=T.shape)
    return Peer(lambda x: (A @ x.astype(jnp.float32).T).T, on_device(case))


def xla_dense(case: Arrays) -> Peer | None:
    """The dense product."""
    if np.prod(case.shape) > DENSE:
        return None
    dense = scipy.sparse.csr_array((case.weights, case.indices, case.indptr), shape=case.shape).toarray()
    W = jnp.asarray(dense)
    return Peer(lambda x: x.astype(jnp.float32) @ W, on_device(case))


def scipy_csr(case: Arrays) -> Peer:
    """``scipy.sparse`` with a dense vector: its product with a sparse one is slower still at these sizes."""
    T = scipy.sparse.csr_array((case.weights, case.indices, case.indptr), shape=case.shape).T
    return Peer(lambda x: T @ x.T, list(case.events.astype(np.float32)), traceable=False)


def torch_csr(case: Arrays) -> Peer | None:
    """``torch.sparse``, if it is installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    warnings.filterwarnings("ignore", "Sparse (invariant checks|CSR tensor support)", UserWarning)
    T = scipy.sparse.csr_array((case.weights, case.indices, case.indptr), shape=case.shape).T.tocsr()
    torch.set_num_threads(len(threads()))
    A = torch.sparse_csr_tensor(*map(torch.from_numpy, (T.indptr, T.indices, T.data)), size=T.shape)
    events = [torch.from_numpy(np.ascontiguousarray(x.T)) for x in case.events.astype(np.float32)]
    return Peer(lambda x: A @ x, events, traceable=False)


PEERS: dict[str, Callable[[Arrays], Peer | None]] = {
    "spikax": ours,
    "brainevent": brainevent,
    "jax BCOO": jax_bcoo,
    "jax BCSR": jax_bcsr,
    "XLA dense": xla_dense,
    "scipy": scipy_csr,
    "torch": torch_csr,
}


def on_device(case: Arrays) -> list[jax.Array]:
    """Each draw of events as an array of JAX."""
    return [jnp.asarray(x) for x in case.events]


def threads() -> set[int]:
    """The CPUs that this process may run on."""
    return os.sched_getaffinity(0)


class PlainLoop:
    """``loop.c``, built by the system's compiler for this machine."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        library = Path(self._folder.name) / "loop.so"
        source = Path(__file__).with_name("loop.c")
        subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        self._products = ctypes.CDLL(str(library)).products

    def __call__(self, case: Arrays, result: Array | None = None) -> Callable[[], None]:
        """One call of the loop on each draw, as a function of nothing; ``result`` holds the last product."""
        events = np.ascontiguousarray(case.events.reshape(-1, case.shape[0])).view(np.uint8)
        if result is None:
            result = np.zeros(case.shape[1], np.float32)
        arrays = [np.ascontiguousarray(array) for array in (events, case.indptr, case.indices, case.data, result)]
        x, indptr, indices, data, y = (array.ctypes.data_as(ctypes.c_void_p) for array in arrays)
        shared = ctypes.c_int(case.data.size == 1)
        sizes = map(ctypes.c_int64, (len(events), *case.shape))

        def run(sizes: tuple[Any, ...] = tuple(sizes), keep: Any = arrays) -> None:
            self._products(*sizes, x, indptr, indices, data, shared, y)

        return run


def available(case: Arrays, only: list[str]) -> Iterator[tuple[str, Peer]]:
    """The products that there are for this case, each with its name."""
    for name in only:
        peer = PEERS[name](case)
        if peer is not None:
            yield name, peer
