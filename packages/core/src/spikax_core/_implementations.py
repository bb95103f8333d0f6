"""The half of an operator that says how it is computed: its kernels, one for each platform and backend."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import jax
from jax.core import ShapedArray

from ._backends.numba import numba_kernel
from ._backends.pallas import Options, pallas_kernel
from ._backends.warp import warp_kernel
from ._call import Defaults
from ._context import REFERENCE, declaring_anew
from ._errors import check_callable
from ._registry import ANY, Build, KernelEntry, Registry, Supports

Avals: TypeAlias = Sequence[ShapedArray]


class Implementations:
    """The kernels of an operator; :class:`XLACustomKernel` inherits what declares them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._kernels = Registry(name)
        self._defaults: Defaults = ()
        self._bound = False

    def _declared_anew(self) -> None:
        """Let JAX trace anew what may have been traced as it was declared before."""
        if self._bound:
            with declaring_anew():
                pass

    def def_kernel(
        self,
        backend: str,
        platform: str,
        build: Build,
        *,
        supports: Supports | None = None,
        exportable: bool = False,
        requires: str | None = None,
        target: str | None = None,
    ) -> None:
        """Register a kernel; the first registered one that supports a call serves it.

        Args:
            backend: The name it is chosen by (``backend=``, :func:`use_backend`). A second kernel of the same backend
                and platform replaces the first.
            platform: ``"cpu"``, ``"gpu"`` (CUDA and ROCm), ``"cuda"``, ``"rocm"`` or ``"tpu"``.
            build: ``build(in_avals, out_avals, **params)`` returns a JAX-traceable callable ``(*ins) -> outs``. It may
                raise :class:`BackendRefusedError`, and then the kernel does not serve the call.
            supports: ``supports(in_avals, **params)``: ``True``, ``False``, or a string that says why not.
            exportable: Whether it survives ``jax.export`` into another process; where it does not, another one is
                exported.
            requires: An extra of ``spikax-core`` that brings what it needs, such as ``"numba"``. Without it the kernel
                refuses every call, and says how to install it.
            target: The XLA FFI target that it calls, for :func:`disabled_checks`.

        Raises:
            ParameterError: The backend is called ``"reference"``, the platform or the extra is unknown, or ``build`` or
                ``supports`` cannot be called.
        """
        self._kernels.add(KernelEntry(backend, platform, build, supports, exportable, requires, target))
        self._declared_anew()

    def def_ffi_kernel(
        self,
        target: str,
        platform: str,
        *,
        backend: str = "ffi",
        supports: Supports | None = None,
        exportable: bool = True,
    ) -> None:
        """Register an XLA FFI target with the operator's operands and results, its params as attributes.

        Args:
            target: The name under which ``jax.ffi.register_ffi_target`` knows it.
            platform: As for :meth:`def_kernel`.
            backend: The name it is chosen by.
            supports: As for :meth:`def_kernel`.
            exportable: As for :meth:`def_kernel`.
        """

        def build(_: Avals, out_avals: Avals, /, **params: Any) -> Callable[..., Any]:
            results = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in out_avals]
            return lambda *ins: jax.ffi.ffi_call(target, results)(*ins, **params)

        self.def_kernel(backend, platform, build, supports=supports, exportable=exportable, target=target)

    def def_numba_kernel(
        self, build: Callable[..., Callable[..., None]], *, backend: str = "numba", supports: Supports | None = None
    ) -> None:
        """Register a function that Numba compiles for the CPU; it needs ``pip install "spikax-core[numba]"``.

        XLA calls the machine code itself, with no Python in between, and maybe from several threads at once. Numba
        compiles once for each function, dtypes and ranks, which takes about a second.

        Args:
            build: ``build(in_avals, out_avals, **params)`` returns ``function(*ins, *outs)``. It gets a NumPy array for
                each operand, read-only, and one for each result, all zeros; they are C-contiguous, and one of rank 0
                is indexed by ``()``. It writes to the results and returns nothing. A plain
                function is compiled with bounds checks; one that ``numba.njit`` made keeps its options. An exception
                that it raises is an error of the program that called it.
            backend: The name it is chosen by.
            supports: As for :meth:`def_kernel`; dtypes that Numba does not have are refused, too.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_core import XLACustomKernel
            >>> def build(in_avals, out_avals):
            ...     def running_sum(x, out):
            ...         total = 0.0
            ...         for i in range(x.size):
            ...             total += x[i]
            ...             out[i] = total
            ...     return running_sum
            >>> running = XLACustomKernel("running", reference=jnp.cumsum)
            >>> running.def_shape_rule(lambda x: x)
            >>> running.def_numba_kernel(build)
            >>> running(jnp.arange(4.0))
            Array([0., 1., 3., 6.], dtype=float32)
        """
        check_callable(f"def_numba_kernel of {self.name}", build)
        self.def_kernel(backend, "cpu", numba_kernel(self.name, build), supports=supports, requires="numba")

    def def_warp_kernel(
        self,
        build: Callable[..., Any],
        platform: str = "cpu",
        *,
        backend: str = "warp",
        supports: Supports | None = None,
    ) -> None:
        """Register an NVIDIA Warp kernel; it needs ``pip install "spikax-core[warp]"``.

        The arguments of the Warp kernel are the inputs, then the results, and between them scalars named like params,
        which get their values. Results start as zeros, so a kernel may add to them and need not write them whole. A
        generic type (``Any``, ``wp.Float``) becomes that of the array; an array of rank 0 has one element. Warp calls
        back into Python at each launch.

        Args:
            build: ``build(in_avals, out_avals, **params)`` returns a ``wp.kernel`` and the dimensions to launch it
                with: an integer, or a tuple of up to four.
            platform: ``"cpu"`` or ``"cuda"``.
            backend: The name it is chosen by.
            supports: As for :meth:`def_kernel`; dtypes that Warp does not have are refused, too.

        Raises:
            ParameterError: The platform is unknown; or the Warp kernel does not fit the operator (raised when a call is
                compiled).
        """
        check_callable(f"def_warp_kernel of {self.name}", build)
        kernel = warp_kernel(self.name, build, platform)
        self.def_kernel(backend, platform, kernel, supports=supports, requires="warp")

    def def_pallas_kernel(
        self,
        body: Callable[..., None],
        platform: str,
        *,
        options: Options = MappingProxyType({}),
        backend: str = "pallas",
        supports: Supports | None = None,
    ) -> None:
        """Register a Pallas kernel; on the CPU it is interpreted, as Pallas compiles none for it.

        Args:
            body: ``body(*in_refs, *out_refs, **params)``, as ``pallas_call`` takes it.
            platform: As for :meth:`def_kernel`.
            options: Keyword arguments of ``pallas_call``, such as ``grid`` and ``in_specs``, or a function ``(in_avals,
                out_avals, **params)`` that returns them. ``out_specs`` is one spec for one result, else a sequence.
            backend: The name it is chosen by.
            supports: As for :meth:`def_kernel`; empty and complex arrays are refused, too, as Pallas has none.

        Raises:
            ParameterError: The platform is unknown; or ``options`` are no mapping, or have ``out_shape``, which follows
                from the operator (raised when a call is compiled).

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_core import XLACustomKernel
            >>> def body(x, out, *, by):
            ...     out[...] = x[...] * by
            >>> scale = XLACustomKernel("scale", reference=lambda x, *, by: x * by)
            >>> scale.def_shape_rule(lambda x, *, by: x)
            >>> scale.def_pallas_kernel(body, "cpu")
            >>> scale(jnp.arange(3.0), by=2.0)
            Array([0., 2., 4.], dtype=float32)
        """
        check_callable(f"def_pallas_kernel of {self.name}", body)
        self.def_kernel(backend, platform, pallas_kernel(body, platform, options), supports=supports)

    def def_reference(self, function: Callable[..., Any]) -> None:
        """Make ``function(*ins, **params)`` the specification: the fallback on every platform, and the tests' oracle.

        Without a shape rule it also gets the declared types, as ``outs=``.
        """
        check_callable(f"def_reference of {self.name}", function)

        def build(_: Avals, __: Avals, /, **params: Any) -> Callable[..., Any]:
            return functools.partial(function, **params)

        self._kernels.reference = KernelEntry(REFERENCE, ANY, build, exportable=True)
        self._declared_anew()

    @property
    def kernels(self) -> tuple[KernelEntry, ...]:
        """What is registered, in that order, without the reference."""
        return tuple(self._kernels.entries)

    def available_backends(self, platform: str) -> tuple[str, ...]:
        """The names of the backends that can run on ``platform``, in the order in which they were registered."""
        return self._kernels.available(platform)

    @property
    def defaults(self) -> Mapping[str, str]:
        """The default backends, by platform."""
        return MappingProxyType(dict(self._defaults))

    def set_default(self, platform: str, backend: str | None) -> None:
        """Try a backend first where no backend is asked for, before the others in the order of their registration.

        The choice is part of JAX's trace key in all threads: a warm ``jit`` is traced again and runs the new kernel.

        Args:
            platform: As for :meth:`def_kernel`.
            backend: The name of a backend of this operator, or ``None`` for the first one registered.

        Raises:
            ParameterError: The platform is unknown.
            UnknownBackendError: The operator has no such backend there.
            MissingExtraError: It has, but the backend needs a package that is not installed.

        Example:
            >>> import jax.numpy as jnp
            >>> from spikax_core import XLACustomKernel
            >>> double = XLACustomKernel("double", reference=lambda x: 2 * x)
            >>> double.def_shape_rule(lambda x: x)
            >>> double.def_kernel("shift", "cpu", lambda *_: lambda x: x << 1)
            >>> double.set_default("cpu", "reference")
            >>> double.defaults
            mappingproxy({'cpu': 'reference'})
        """
        with declaring_anew():
            self._kernels.set_default(platform, backend)
            self._defaults = tuple(sorted(self._kernels.defaults.items()))
