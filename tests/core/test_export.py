"""Export: which kernels leave the process, what JAX has to be told of them, and that another process runs them."""

import ctypes
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from spikax_core import (
    BackendFallbackWarning,
    BackendRefusedError,
    NoBackendError,
    XLACustomKernel,
    disabled_checks,
    use_backend,
)
from tests.core.operators import kernel, same

P = jax.P
X = jnp.arange(8.0)
TARGET = "spikax_test_export_scale"

SOURCE = """
#include "xla/ffi/api/ffi.h"
namespace ffi = xla::ffi;

static ffi::Error Scale(ffi::Buffer<ffi::F32> x, int64_t by, ffi::ResultBuffer<ffi::F32> out) {
  for (size_t i = 0; i < x.element_count(); ++i) out->typed_data()[i] = x.typed_data()[i] * by + 0.5f;
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    Scale_, Scale,
    ffi::Ffi::Bind().Arg<ffi::Buffer<ffi::F32>>().Attr<int64_t>("by").Ret<ffi::Buffer<ffi::F32>>());
"""
"""``x * by + 0.5``: the half tells it from the reference."""

RUN = """
import ctypes, pathlib, sys
import jax, numpy as np
from jax import export

library, target, folder = sys.argv[1:]
if library:
    jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(ctypes.CDLL(library).Scale_), platform="cpu")
x = np.arange(8, dtype=np.float32)
for program in pathlib.Path(folder).glob("*.program"):
    exported = export.deserialize(bytearray(program.read_bytes()))
    mesh = jax.make_mesh((exported.nr_devices,), ("d",), devices=jax.devices()[:exported.nr_devices])
    placed = jax.device_put(x, jax.NamedSharding(mesh, jax.P("d")))
    np.save(program.with_suffix(".npy"), exported.call(placed))
assert "spikax_core" not in sys.modules
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library with the handler, which this process has registered as ``TARGET``."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    source, path = (tmp_path_factory.mktemp("ffi") / name for name in ("scale.cc", "scale.so"))
    source.write_text(SOURCE)
    flags = ["-std=c++17", "-shared", "-fPIC", "-I", jax.ffi.include_dir()]
    subprocess.run([compiler, *flags, str(source), "-o", str(path)], check=True, timeout=300)
    jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(ctypes.CDLL(str(path)).Scale_), platform="cpu")
    return str(path)


def elsewhere(folder: Path, programs: Mapping[str, export.Exported], library: str = "") -> dict[str, Any]:
    """What a process that knows neither this package nor the operators makes of programs and of 0, 1, ... 7."""
    pytest.importorskip("flatbuffers")
    for name, exported in programs.items():
        (folder / f"{name}.program").write_bytes(exported.serialize())
    variables = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, library, TARGET, str(folder)],
        env={**variables, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: np.load(folder / f"{name}.npy") for name in programs}


def sharded() -> jax.Array:
    """``X`` on four devices."""
    placed: jax.Array = jax.device_put(X, jax.NamedSharding(jax.make_mesh((4,), ("d",)), P("d")))
    return placed


def per_device(function: Any, out_specs: Any) -> Any:
    mesh = jax.make_mesh((4,), ("d",))
    return jax.shard_map(function, mesh=mesh, in_specs=P("d"), out_specs=out_specs)


def scaler(**options: Any) -> XLACustomKernel:
    operator = kernel("scale", lambda x, *, by: x * by)
    operator.def_ffi_kernel(TARGET, "cpu", **options)
    return operator


def exporting(function: Any, *operands: Any, **options: Any) -> export.Exported:
    return export.export(jax.jit(function), disabled_checks=disabled_checks(), **options)(*operands)


# An FFI target.


def test_an_ffi_kernel_runs_in_another_process_that_registers_its_target(library: str, tmp_path: Path) -> None:
    operator = scaler()
    operator.def_partition("i -> i")

    def triple(x: jax.Array) -> Any:
        return operator(x, by=3)

    programs = {
        "one device": exporting(triple, X),
        "a partition": exporting(triple, sharded()),
        "shard_map": exporting(per_device(triple, P("d")), sharded()),
    }
    assert [(TARGET in e.mlir_module(), e.nr_devices) for e in programs.values()] == [(True, 1), (True, 4), (True, 4)]
    expected = np.arange(8, dtype=np.float32) * 3 + 0.5
    same(elsewhere(tmp_path, programs, library), dict.fromkeys(programs, expected))
    same(np.asarray(programs["one device"].call(X)), expected)


def ffi_call(by: int) -> Any:
    return lambda x: jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct(x.shape, x.dtype))(x, by=by)


def test_a_kernel_of_ones_own_that_calls_a_target_is_exported_once_it_names_it(library: str) -> None:
    operator = kernel("own", lambda x: x)
    operator.def_kernel("own", "cpu", lambda i, o: ffi_call(5), exportable=True, target=TARGET)
    same(np.asarray(exporting(operator, X).call(X)), np.arange(8, dtype=np.float32) * 5 + 0.5)
    with pytest.raises(ValueError, match=TARGET):  # what JAX says where it is not told
        export.export(jax.jit(operator))(X)


def test_the_checks_name_each_target_of_an_exportable_kernel_once() -> None:
    operators = [kernel("many", lambda x: x) for _ in range(3)]
    for operator in operators:
        operator.def_ffi_kernel("spikax_test_one", "cpu")
        operator.def_ffi_kernel("spikax_test_one", "cuda")
        operator.def_ffi_kernel("spikax_test_hidden", "cpu", backend="hidden", exportable=False)
        operator.def_kernel("python", "cpu", lambda i, o: lambda x: x, exportable=True)
    checks = disabled_checks()
    assert len(set(checks)) == len(checks)
    assert checks.count(export.DisabledSafetyCheck.custom_call("spikax_test_one")) == 1
    assert export.DisabledSafetyCheck.custom_call("spikax_test_hidden") not in checks


# The reference.


def test_a_reference_runs_in_another_process(tmp_path: Path) -> None:
    double, total = kernel("double", lambda x: 2 * x), kernel("total", lambda x: x.sum(keepdims=True))
    total.def_partition("i -> _", reduce="sum")
    programs = {
        "one device": exporting(lambda x: jnp.sin(double(x)), X),
        "a partition": exporting(total, sharded()),
        "shard_map": exporting(per_device(lambda x: jax.lax.psum(total(x), "d"), P()), sharded()),
    }
    twice = np.sin(2 * np.arange(8, dtype=np.float32))
    summed = np.full(1, 28, np.float32)
    same(elsewhere(tmp_path, programs), {"one device": twice, "a partition": summed, "shard_map": summed})


def test_a_reference_is_exported_for_other_platforms() -> None:
    operator = kernel("double", lambda x: x * 2)
    operator.def_kernel("shift", "cuda", lambda i, o: lambda x: x + x, exportable=True)
    exported = exporting(operator, X, platforms=["cpu", "cuda"])
    same(np.asarray(exported.call(X)), 2 * np.arange(8, dtype=np.float32))
    for platform, there, absent in (("cpu", "multiply", "add"), ("cuda", "add", "multiply")):
        text = exporting(operator, X, platforms=[platform]).mlir_module()
        assert f"stablehlo.{there}" in text
        assert f"stablehlo.{absent}" not in text


def test_shapes_may_be_left_open() -> None:
    operator = kernel("double", lambda x: 2 * x)
    struct = jax.ShapeDtypeStruct(export.symbolic_shape("n"), np.float32)
    exported = exporting(operator, struct)
    for n in (1, 3, 8):
        same(np.asarray(exported.call(X[:n])), 2 * np.arange(n, dtype=np.float32))


def test_the_derivative_is_exported_too() -> None:
    operator = kernel("square", lambda x: x * x)
    operator.def_jvp_rule2(lambda t, x: 2 * t * x)
    pytest.importorskip("flatbuffers")
    exporteds = export.deserialize(exporting(operator, X).serialize(vjp_order=1))
    same(np.asarray(jax.grad(lambda x: exporteds.call(x).sum())(X)), 2 * np.arange(8, dtype=np.float32))


# What stays here.


def local(*, reference: bool = True) -> XLACustomKernel:
    """An operator whose first kernel runs code of this process, and of whose others each adds its own number."""
    operator = XLACustomKernel("local", reference=(lambda x: x) if reference else None)
    operator.def_shape_rule(lambda x: x)
    for n, exportable in ((1, False), (2, False), (3, True)) if reference else ((1, False), (2, False)):
        operator.def_kernel(f"plus{n}", "cpu", lambda i, o, n=n: lambda x: x + n, exportable=exportable)
    return operator


def added(exported: export.Exported) -> int:
    (number,) = np.unique(np.asarray(exported.call(X)) - np.arange(8))
    return int(number)


def test_a_call_that_asks_for_a_kernel_that_cannot_be_exported_is_an_error_that_says_why() -> None:
    operator = local()
    with pytest.raises(
        BackendRefusedError, match="'plus1' does not serve local: it cannot be exported, as it runs code"
    ):
        exporting(lambda x: operator(x, backend="plus1"), X)
    same(operator(X, backend="plus1"), X + 1)  # here, it can be asked for


def test_the_next_kernel_is_exported_with_one_warning_for_each_that_is_left_out() -> None:
    operator = local()
    with pytest.warns(BackendFallbackWarning) as caught:
        assert added(exporting(operator, X)) == 3
    assert [str(warning.message) for warning in caught] == [
        f"local: backend 'plus{n}' is left out: it cannot be exported, as it runs code of this process" for n in (1, 2)
    ]
    assert added(exporting(lambda x: operator(x), X)) == 3


def test_use_backend_falls_through_with_one_warning() -> None:
    operator = local()
    with use_backend("plus2"):
        with warnings.catch_warnings(record=True, action="always") as caught:
            assert added(exporting(operator, X)) == 3
        assert "backend 'plus2' does not serve local: it cannot be exported" in str(caught[0].message)
        assert [str(w.message) for w in caught if "plus2" in str(w.message)] == [str(caught[0].message)]
        assert added(exporting(lambda x: operator(x), X)) == 3
    with use_backend("reference"):
        assert added(exporting(operator, X)) == 0


def test_a_default_that_can_be_exported_is() -> None:
    operator = local()
    for backend, number in (("plus3", 3), ("reference", 0)):
        operator.set_default("cpu", backend)
        assert added(exporting(lambda x: operator(x), X)) == number


def test_where_nothing_can_be_exported_each_reason_is_given() -> None:
    with pytest.warns(BackendFallbackWarning), pytest.raises(NoBackendError) as caught:
        exporting(local(reference=False), X)
    assert [str(reason) for reason in caught.value.exceptions] == [
        f"backend 'plus{n}' of local: it cannot be exported, as it runs code of this process" for n in (1, 2)
    ]


def test_what_is_run_here_does_not_change_by_an_export() -> None:
    operator = local()
    jitted = jax.jit(operator)
    same(jitted(X), X + 1)
    with pytest.warns(BackendFallbackWarning):
        assert added(exporting(operator, X)) == 3
    same(jitted(X), X + 1)
    same(operator(X), X + 1)
