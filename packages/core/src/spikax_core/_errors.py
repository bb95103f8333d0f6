"""Every error this package raises: one class per cause, each also the builtin that fits it."""

from __future__ import annotations


class SpikaxError(Exception):
    """Base of every error of ``spikax_core`` and of the packages built on it."""


class NotAPrimitiveError(SpikaxError, AssertionError, TypeError):
    """Something other than a JAX ``Primitive`` or an ``XLACustomKernel`` was given.

    A plain function has no derivative to define: use ``jax.custom_jvp``, or make it the reference of an operator.

    Example:
        >>> import jax.numpy as jnp
        >>> import spikax_core
        >>> spikax_core.defjvp(jnp.sin, lambda t, x: t * jnp.cos(x))
        Traceback (most recent call last):
          ...
        spikax_core._errors.NotAPrimitiveError: got PjitFunction; expected a jax.extend.core.Primitive or a ...
    """


class RuleCountError(SpikaxError, ValueError):
    """An operator was given another number of per-input rules than it has inputs.

    Without this error the gradient of the input that was forgotten would be zero. Register one rule for each input, in
    order, and ``None`` for an input that contributes nothing.

    Example:
        >>> import jax
        >>> import spikax_core
        >>> multiply = spikax_core.XLACustomKernel("multiply", reference=lambda x, y: x * y)
        >>> multiply.def_shape_rule(lambda x, y: x)
        >>> multiply.def_jvp_rule2(lambda t, x, y: t * y)
        >>> multiply(2.0, 3.0)
        Traceback (most recent call last):
          ...
        spikax_core._errors.RuleCountError: multiply: got 1 JVP rules for 2 inputs; pass one rule per input, ...
    """


class RuleOutputError(SpikaxError, TypeError):
    """A rule returned the wrong structure, shape or dtype.

    The message names the operator, the rule and the result, what was returned and what was expected. A wrong shape
    is never broadcast, nor a dtype converted, as either would give a gradient that is silently wrong. It is raised for
    rules of ``jvp``, transposition, ``vmap`` and partition alike.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import spikax_core
        >>> total = spikax_core.XLACustomKernel("total", reference=jnp.sum)
        >>> total.def_shape_rule(lambda x: jax.ShapeDtypeStruct((), x.dtype))
        >>> total.def_jvp_rule2(lambda t, x: t)
        >>> jax.grad(total)(jnp.ones(3))
        Traceback (most recent call last):
          ...
        spikax_core._errors.RuleOutputError: JVP rule 0 of total, result 0: got f32[3]; expected f32[]...
    """


class NoRuleError(SpikaxError, NotImplementedError):
    """A derivative was asked for that the operator does not declare.

    It was differentiated in an input that is neither linear nor has a rule, or transposed in one that is not declared
    linear, or in several at once. Declare the input with :meth:`XLACustomKernel.def_linear` or give it a rule with
    :meth:`XLACustomKernel.def_jvp_rule2`, ``None`` if it has no influence; or stop the gradient before the operator,
    with ``jax.lax.stop_gradient``.

    Example:
        >>> import jax
        >>> import spikax_core
        >>> power = spikax_core.XLACustomKernel("power", reference=lambda w, x: w * x**2)
        >>> power.def_shape_rule(lambda w, x: x)
        >>> power.def_linear({0: lambda ct, w, x: power(ct, x)})
        >>> jax.grad(power, argnums=1)(2.0, 3.0)
        Traceback (most recent call last):
          ...
        spikax_core._errors.NoRuleError: power cannot be differentiated in argument 1: it is not declared linear ...
    """


class ParameterError(SpikaxError, TypeError):
    """An argument of a call or of a declaration is wrong.

    A param cannot be hashed (pass arrays by position, lists as tuples), ``outs=`` is missing where there is no shape
    rule, a platform is unknown, a partition rule does not fit the operands: the message says what it got and what it
    expected.

    Example:
        >>> import spikax_core
        >>> scale = spikax_core.XLACustomKernel("scale", reference=lambda x, *, by: x * by[0])
        >>> scale.def_shape_rule(lambda x, *, by: x)
        >>> scale(2.0, by=[3.0])
        Traceback (most recent call last):
          ...
        spikax_core._errors.ParameterError: scale: param 'by' is a list, which cannot be hashed; pass arrays ...
    """


class OutputMismatchError(SpikaxError, TypeError):
    """A kernel produced other shapes or dtypes than its operator declares.

    Either the shape rule (or ``outs=``) is wrong, or the kernel is; the message has both types. It is raised when the
    call is compiled, before anything runs.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import spikax_core
        >>> total = spikax_core.XLACustomKernel("total", reference=lambda x: x.sum())
        >>> total.def_shape_rule(lambda x: jax.ShapeDtypeStruct((1,), x.dtype))
        >>> total(jnp.ones(3))
        Traceback (most recent call last):
          ...
        spikax_core._errors.OutputMismatchError: kernel 'reference' of total: got (f32[]); expected (f32[1]), as ...
    """


class UnknownBackendError(SpikaxError, ValueError):
    """A backend was named that no operator (or not this operator) has.

    The message lists those that are known. An operator's backends are known once the module that registers them is
    imported.

    Example:
        >>> import spikax_core
        >>> with spikax_core.use_backend("nunba"):
        ...     pass
        Traceback (most recent call last):
          ...
        spikax_core._errors.UnknownBackendError: got backend 'nunba'; expected one of [...'reference'...]
    """


class MissingExtraError(SpikaxError, ImportError):
    """Something known needs a package that is not installed; the message has the command that installs it.

    Where Numba is not installed, ``use_backend("numba")`` raises it and says ``pip install "spikax-core[numba]"``. The
    extras are ``numba``, ``warp`` and ``plot``; ``python -m spikax_core doctor`` lists which of them are there.
    """


class BackendRefusedError(SpikaxError, NotImplementedError):
    """A backend exists for the operator but does not serve this platform or these arguments.

    It is raised where the call itself asked for that backend, with its reason, when the call is compiled. Leave out
    ``backend=`` to run the first one that serves, or prefer one without insisting: ``with use_backend(...)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import spikax_core
        >>> double = spikax_core.XLACustomKernel("double", reference=lambda x: 2 * x)
        >>> double.def_shape_rule(lambda x: x)
        >>> supports = lambda in_avals: in_avals[0].size % 2 == 0 or "odd"
        >>> double.def_kernel("even", "cpu", lambda i, o: lambda x: x + x, supports=supports)
        >>> double(jnp.ones(3), backend="even")
        Traceback (most recent call last):
          ...
        spikax_core._errors.BackendRefusedError: backend 'even' does not serve double: odd; leave out backend= or ...
    """


class NoBackendError(SpikaxError, ExceptionGroup[Exception]):
    """No backend serves the call and the operator has no reference.

    It is an exception group: its members are a :class:`BackendRefusedError` for each backend, with the reason. An
    operator with a reference (:meth:`XLACustomKernel.def_reference`) runs everywhere.

    Example:
        >>> import jax.numpy as jnp
        >>> import spikax_core
        >>> double = spikax_core.XLACustomKernel("double")
        >>> double.def_shape_rule(lambda x: x)
        >>> supports = lambda in_avals: in_avals[0].size % 2 == 0 or "odd"
        >>> double.def_kernel("even", "cpu", lambda i, o: lambda x: x + x, supports=supports)
        >>> try:
        ...     double(jnp.ones(3))
        ... except* spikax_core.BackendRefusedError as group:
        ...     print([str(error) for error in group.exceptions])
        ["backend 'even' of double: odd"]
    """


class BenchmarkMismatchError(SpikaxError, AssertionError):
    """Backends of an operator that are timed beside each other do not compute the same.

    A fast kernel that is wrong is of no use, so :meth:`XLACustomKernel.benchmark` gives no times for it. The message
    names the configuration, the backend, what it computed and what was expected.

    Example:
        >>> import jax.numpy as jnp
        >>> import spikax_core
        >>> double = spikax_core.XLACustomKernel("double", reference=lambda x: 2 * x)
        >>> double.def_shape_rule(lambda x: x)
        >>> double.def_kernel("wrong", "cpu", lambda i, o: lambda x: 3 * x)
        >>> double.def_benchmark_data(lambda *, platform: [spikax_core.BenchmarkConfig("three", (jnp.ones(3),))])
        >>> double.benchmark()
        Traceback (most recent call last):
          ...
        spikax_core._errors.BenchmarkMismatchError: ...
    """


class BackendFallbackWarning(UserWarning):
    """An operator ran another kernel than the one that was preferred.

    The backend of ``use_backend`` does not serve the call, or a kernel cannot be exported. The result is right all the
    same. Each operator says so once for each backend and platform; name the backend in the call, ``backend=``, to make
    it an error.

    Example:
        >>> import warnings
        >>> import jax.numpy as jnp
        >>> import spikax_core
        >>> one = spikax_core.XLACustomKernel("one", reference=jnp.ones_like)
        >>> one.def_shape_rule(lambda x: x)
        >>> one.def_kernel("mine", "cpu", lambda i, o: jnp.ones_like)
        >>> other = spikax_core.XLACustomKernel("other", reference=jnp.zeros_like)
        >>> other.def_shape_rule(lambda x: x)
        >>> with warnings.catch_warnings(record=True, action="always") as caught, spikax_core.use_backend("mine"):
        ...     _ = other(jnp.arange(3))
        >>> print(caught[0].message)
        backend 'mine' does not serve other: it has no such kernel; the default kernel runs instead
    """


def check_callable(what: str, value: object) -> None:
    """Raise unless ``value`` can be called, where it is declared and not only where it is needed.

    Raises:
        ParameterError: It cannot.
    """
    if not callable(value):
        raise ParameterError(f"{what}: got {type(value).__name__}; expected a function")
