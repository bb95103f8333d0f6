"""The Warp backend: an NVIDIA Warp kernel as the kernel of an operator, through Warp's own bridge to JAX."""

from __future__ import annotations

import contextlib
import functools
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax.numpy as jnp
from jax.core import ShapedArray

from spikax_core._describe import describe, describe_all
from spikax_core._errors import BackendRefusedError, ParameterError
from spikax_core._registry import Build

# Warp registers kernels and numbers their launches without a lock. Re-entrant, as a build may call an operator.
_lock = threading.RLock()


def warp_kernel(operator: str, build: Callable[..., Any], platform: str) -> Build:
    """The kernel of an operator for which ``build`` names Warp's, see :meth:`XLACustomKernel.def_warp_kernel`."""
    if platform not in ("cpu", "cuda"):
        raise ParameterError(f"{operator}: got a Warp kernel on {platform!r}; expected one on 'cpu' or 'cuda'")

    def build_call(
        in_avals: Sequence[ShapedArray], out_avals: Sequence[ShapedArray], /, **params: Any
    ) -> Callable[..., list[Any]]:
        import warp

        unknown = [aval for aval in (*in_avals, *out_avals) if _dtype(aval, warp) is None]
        if unknown:
            raise BackendRefusedError(f"Warp has no arrays such as {describe(unknown[0])}")
        with _compiling(warp):
            kernel, dims = _pair(operator, build(in_avals, out_avals, **params))
            where = f"the Warp kernel {kernel.key!r} of {operator}"
            annotations = _annotations(where, kernel, in_avals, out_avals, params)
            if 0 in (dims if isinstance(dims, (tuple, list)) else [dims]):
                return lambda *_: _zeros(out_avals)
            empty = [aval for aval in (*in_avals, *out_avals) if not aval.size]
            if empty:  # in JAX 0.9 its address is null, of which the bridge cannot make an array
                raise BackendRefusedError(f"Warp is launched over {dims}, but an array is {describe(empty[0])}")
            own = _copy(kernel, annotations)
            for device in ["cpu"] if platform == "cpu" else warp.get_cuda_devices():
                warp.load_module(own.module, device)
        return functools.partial(_launch, where, own, dims, out_avals, params)

    return build_call


def _dtype(aval: ShapedArray, warp: Any) -> Any:
    """Warp's name of a dtype, or ``None``."""
    try:
        return warp.dtype_from_jax(aval.dtype)
    except TypeError:
        return None


@contextlib.contextmanager
def _compiling(warp: Any) -> Iterator[None]:
    """The one thread that prepares a Warp kernel, without the notices that Warp prints about it by default."""
    with _lock:
        level = warp.config.log_level
        try:
            if level == warp.LOG_INFO:
                warp.config.log_level = warp.LOG_WARNING
            yield
        finally:
            warp.config.log_level = level


def _pair(operator: str, built: Any) -> tuple[Any, Any]:
    """The kernel and the launch dimensions that a user's build returned."""
    import warp

    if not isinstance(built, tuple) or len(built) != 2 or not isinstance(built[0], warp.Kernel):
        raise ParameterError(
            f"the Warp kernel of {operator}: build returned {built!r}; expected a pair (wp.kernel, launch dimensions)"
        )
    return built


def _annotations(
    where: str,
    kernel: Any,
    in_avals: Sequence[ShapedArray],
    out_avals: Sequence[ShapedArray],
    params: Mapping[str, Any],
) -> dict[str, Any]:
    """The types of the kernel's arguments, where generic ones are those of the arrays."""
    import warp

    arrays = [arg for arg in kernel.adj.args if arg.label not in params]
    if len(arrays) != len(in_avals) + len(out_avals):
        raise ParameterError(
            f"{where}: got the arrays ({', '.join(arg.label for arg in arrays)}); expected {len(in_avals)} for the "
            f"inputs {describe_all(in_avals)}, then {len(out_avals)} for the results {describe_all(out_avals)}; "
            f"scalars are named like params, which are {sorted(params)}"
        )
    annotations = {arg.label: arg.type for arg in kernel.adj.args}
    for arg, aval in zip(arrays, [*in_avals, *out_avals], strict=True):
        declared = getattr(arg.type, "dtype", arg.type)
        if declared is Any or isinstance(declared, TypeVar):
            rank = getattr(arg.type, "ndim", max(aval.ndim, 1))
            annotations[arg.label] = warp.array(dtype=_dtype(aval, warp), ndim=rank)
    return annotations


def _copy(kernel: Any, annotations: dict[str, Any]) -> Any:
    """``kernel`` for arguments of these types, without the derivative that it will not need.

    It has a Warp module of its own. Warp compiles all kernels of a module together, and anew when another one is
    defined: in the middle of a launch, while a second thread may be compiling too.
    """
    import warp

    function = kernel.func
    copy = types.FunctionType(function.__code__, function.__globals__, closure=function.__closure__)
    copy.__module__, copy.__qualname__, copy.__annotations__ = function.__module__, function.__qualname__, annotations
    return warp.kernel(
        copy,
        module="unique",
        module_options=dict(warp.get_module_options(kernel.module)),
        **{**kernel.options, "enable_backward": False},
    )


def _launch(
    where: str, kernel: Any, dims: Any, out_avals: Sequence[ShapedArray], params: Mapping[str, Any], *ins: Any
) -> list[Any]:
    """Call the kernel on arrays that JAX traces."""
    import warp

    names = [arg.label for arg in kernel.adj.args]
    arrays = [name for name in names if name not in params]
    results = arrays[len(ins) :]
    # What a launch does not write would be whatever the memory held: so a result is also an input, of zeros.
    given = {name: jnp.atleast_1d(x) for name, x in zip(arrays, (*ins, *_zeros(out_avals)), strict=True)}
    with _compiling(warp):
        try:
            run = warp.jax_kernel(
                kernel,
                num_outputs=len(results),
                in_out_argnames=results,
                vmap_method=None,
                module_preload_mode=warp.JaxModulePreloadMode.NONE,  # it is loaded, and where it is needed
            )
            outs = run(*(params[name] if name in params else given[name] for name in names), launch_dims=dims)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"{where}: {error}") from error
    return [out.reshape(aval.shape) for out, aval in zip(outs, out_avals, strict=True)]


def _zeros(avals: Sequence[ShapedArray]) -> list[Any]:
    return [jnp.zeros(aval.shape, aval.dtype) for aval in avals]
