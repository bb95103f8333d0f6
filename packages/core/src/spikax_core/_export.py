"""``disabled_checks``: what ``jax.export`` has to be told about the operators in a program."""

from __future__ import annotations

from jax import export

from ._kernel import operators


def disabled_checks() -> list[export.DisabledSafetyCheck]:
    """The ``disabled_checks`` that let ``jax.export`` export the exportable kernels of all operators.

    JAX exports no call of an XLA FFI target that it does not know, as the process that runs the program must have it
    too, under the same name. The kernels of :meth:`XLACustomKernel.def_ffi_kernel` are exportable unless they say
    otherwise: import what registers their targets before you run the program.

    Example:
        >>> import jax, jax.export, jax.numpy as jnp
        >>> import spikax_core
        >>> double = spikax_core.XLACustomKernel("double", reference=lambda x: 2 * x)
        >>> double.def_shape_rule(lambda x: x)
        >>> checks = spikax_core.disabled_checks()
        >>> exported = jax.export.export(jax.jit(double), disabled_checks=checks)(jnp.arange(3.0))
        >>> exported.call(jnp.arange(3.0))
        Array([0., 2., 4.], dtype=float32)
    """
    targets = {
        entry.target
        for operator in operators()
        for entry in operator.kernels
        if entry.exportable and entry.target is not None
    }
    return [export.DisabledSafetyCheck.custom_call(target) for target in sorted(targets)]
