"""For which GPUs programs are compiled, and what a person sees where there is none."""

import sys
import warnings
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import spikax_core
from spikax_core import BackendFallbackWarning, BackendRefusedError
from spikax_kernels import CSR, MissingExtraError
from spikax_kernels._errors import ArchitectureError
from spikax_kernels.cuda._architecture import architectures, parse
from spikax_kernels.ops.scatter import op as scatter


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", (90,)), ("90,80", (80, 90)), (" 80 , 120,100 ", (80, 100, 120)), ("90,90", (90,)), ("50,999", (50, 999))],
)
def test_a_list_names_each_architecture_once_in_order(text: str, expected: tuple[int, ...]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", " ", ",", "90,", "sm_90", "9.0", "90a", "-90", "49", "1000", "80 90", "all"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ArchitectureError) as caught:
        parse(text)
    assert str(caught.value) == f"got architectures {text!r}; expected compute capabilities such as '80,90'"


def see(monkeypatch: pytest.MonkeyPatch, *capabilities: str) -> None:
    """Let JAX see GPUs of these compute capabilities, or none."""

    def local_devices(*, backend: str) -> list[Any]:
        assert backend == "cuda"
        if not capabilities:
            raise RuntimeError("Unknown backend cuda")
        return [SimpleNamespace(compute_capability=capability) for capability in capabilities]

    monkeypatch.setattr(jax, "local_devices", local_devices)


def test_the_architectures_are_those_of_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, "12.0", "8.6", "9.0", "8.6")
    assert architectures() == (86, 90, 120)


def test_the_environment_comes_before_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, "9.0")
    monkeypatch.setenv("SPIKAX_CUDA_ARCH", "80,100")
    assert architectures() == (80, 100)
    monkeypatch.setenv("SPIKAX_CUDA_ARCH", "")
    assert architectures() == (90,)


def test_without_a_device_there_is_nothing_to_compile_for(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch)
    with pytest.raises(
        BackendRefusedError, match=r"no CUDA device .*Unknown backend cuda.*set SPIKAX_CUDA_ARCH, to 90"
    ):
        architectures()


def lowered(backend: str | None = None) -> str:
    """The program of a product for a machine with a GPU, as it is lowered here."""
    A = CSR(np.ones(3, np.float32), np.array([0, 1, 1], np.int32), np.array([0, 2, 3], np.int32), shape=(2, 2))

    def product(x: jax.Array) -> Any:
        if backend is None:
            return x @ A
        with spikax_core.use_backend(backend):
            return x @ A

    traced = jax.jit(product).trace(np.ones(2, bool))
    text: str = traced.lower(lowering_platforms=("cuda",)).as_text()
    return text


def test_where_there_is_no_gpu_a_program_for_one_has_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "custom_call" not in lowered()


def test_who_asked_for_the_kernels_is_told_why_they_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch)
    monkeypatch.setattr(scatter.kernel._kernels, "_warned", set())  # it says so only once
    said = r"'cuda' does not serve spikax_scatter: there is no CUDA device .*set SPIKAX_CUDA_ARCH.*the default kernel"
    with pytest.warns(BackendFallbackWarning, match=said):
        assert "custom_call" not in lowered("cuda")


@pytest.mark.usefixtures("nvrtc")
def test_the_environment_puts_the_kernels_into_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch)
    monkeypatch.setenv("SPIKAX_CUDA_ARCH", "80,90")
    program = lowered()
    assert "@spikax_cuda(" in program
    assert "architectures = dense<[80, 90]>" in program


def test_a_name_that_is_none_is_an_error_and_not_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKAX_CUDA_ARCH", "ninety")
    with pytest.raises(ArchitectureError, match="got architectures 'ninety'"):
        lowered()


def test_with_a_gpu_but_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, "9.0")
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(MissingExtraError, match=r'pip install "spikax-kernels\[cuda13\]"'):
        lowered()
