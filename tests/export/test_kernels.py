"""The compiled CPU kernels compute what PyTorch's own operators compute."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rewardserve_export.graph._fusion import Int8Linear
from rewardserve_export.runtime import torch_operators
from rewardserve_export.runtime.torch_kernels import load_kernels
from torch import Tensor, nn

DTYPES = [torch.float32, torch.bfloat16]
EVERY_BLOCK = [
    # whole segments; a long one in blocks; two behind one prefix, one behind another; one token
    [0, 70, 0, 70, 0, 0],
    [70, 326, 70, 326, 0, 0],
    [326, 700, 70, 700, 0, 0],
    [700, 757, 700, 757, 0, 70],
    [757, 800, 757, 800, 0, 70],
    [800, 831, 800, 831, 70, 630],
    [831, 832, 831, 832, 0, 0],
]
WINDOW = 2**40


@pytest.fixture(scope="module", autouse=True)
def kernels() -> None:
    assert load_kernels()


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def int8_linear(states: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    zero = torch.zeros(len(scale), dtype=torch.int32)
    levels = torch.ops.rewardserve.quantize(states)
    result: Tensor = torch.ops.rewardserve.linear_int8(*levels, weight, scale, zero, None, states.dtype)
    return result


def assert_close(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert actual.dtype == expected.dtype == dtype
    rounding = 2e-6 if dtype == torch.float32 else 1e-2
    scale = expected.float().abs().max()
    assert (actual.float() - expected.float()).abs().max() <= rounding * scale


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [8, 24, 576])
def test_rows(dtype: torch.dtype, width: int) -> None:
    states, other = random(1, 5, width, dtype=dtype), random(1, 5, width, dtype=dtype, seed=1)
    weight = random(width, dtype=dtype, seed=2)
    norm = torch.ops.rewardserve.rms_norm(states, weight, 1e-5)
    assert_close(norm, torch_operators._rms_norm(states, weight, 1e-5), dtype)
    product = torch.ops.rewardserve.swiglu(40 * states, other)
    assert_close(product, torch_operators._swiglu(40 * states, other), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rotary_of_transposed_heads(dtype: torch.dtype) -> None:
    query, key = (random(1, 7, heads, 16, dtype=dtype).transpose(1, 2) for heads in (4, 2))
    cos, sin = random(1, 7, 16, dtype=dtype, seed=1), random(1, 7, 16, dtype=dtype, seed=2)
    actual = torch.ops.rewardserve.rotary(query, key, cos, sin)
    for rotated, expected in zip(actual, torch_operators._rotary(query, key, cos, sin), strict=True):
        assert_close(rotated, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sinks", "behind", "ahead", "softcap"),
    [
        (False, WINDOW, 1, 0.0),
        (False, 40, 1, 0.0),
        (False, WINDOW, 1, 20.0),
        (True, 90, 1, 0.0),
        (True, WINDOW, 1, 5.0),
    ],
)
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 2, 64), (3, 3, 24), (2, 1, 80)])
def test_attention(
    dtype: torch.dtype, sinks: bool, behind: int, ahead: int, softcap: float, heads: int, kv_heads: int, dim: int
) -> None:
    query, key, value = (
        random(1, EVERY_BLOCK[-1][1], count, dim, dtype=dtype, seed=seed).transpose(1, 2)
        for seed, count in enumerate((heads, kv_heads, kv_heads))
    )
    rest = (
        torch.tensor(EVERY_BLOCK),
        random(heads, dtype=dtype) if sinks else None,
        dim**-0.5,
        behind,
        ahead,
        softcap,
    )
    actual = torch.ops.rewardserve.packed_attention(query, key, value, *rest)
    assert_close(actual, torch_operators.packed_attention(query, key, value, *rest), dtype)


def test_attention_in_both_directions() -> None:
    tensors = [random(1, 300, 2, 16, dtype=torch.float32, seed=seed).transpose(1, 2) for seed in range(3)]
    blocks = torch.tensor([[0, 256, 0, 300, 0, 0], [256, 300, 0, 300, 0, 0]])
    rest = (blocks, None, 0.25, 30, 30, 0.0)
    actual = torch.ops.rewardserve.packed_attention(*tensors, *rest)
    assert_close(actual, torch_operators.packed_attention(*tensors, *rest), torch.float32)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_nothing_hides_an_overflow(poison: float) -> None:
    """A reward must be NaN when an activation was, and only its own."""
    states = random(1, 4, 64, dtype=torch.bfloat16)
    states[0, 1, 3] = poison
    weight, scale = torch.randint(-127, 127, (32, 64), dtype=torch.int8), torch.ones(32)
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    results = {
        "int8": int8_linear(states, packed, scale),
        "norm": torch.ops.rewardserve.rms_norm(states, torch.ones(64, dtype=torch.bfloat16), 1e-5),
    }
    heads = states.reshape(1, 4, 4, 16).transpose(1, 2)
    blocks = torch.tensor([[0, 1, 0, 1, 0, 0], [1, 2, 1, 2, 0, 0], [2, 4, 2, 4, 0, 0]])
    rest = (blocks, None, 0.25, WINDOW, 1, 0.0)
    attended = torch.ops.rewardserve.packed_attention(heads, heads, heads, *rest)
    results["attention"] = attended.reshape(1, 4, 64)
    for name, result in results.items():
        assert not result[0, 1].isfinite().all(), name
        assert result[0, [0, 2, 3]].isfinite().all(), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_with_packed_weight(dtype: torch.dtype) -> None:
    states, weight, bias = random(1, 5, 32, dtype=dtype), random(48, 32, dtype=dtype), random(48, dtype=dtype)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    actual = torch.ops.rewardserve.linear(states, packed, bias)
    assert_close(actual, torch.nn.functional.linear(states, weight, bias), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [24, 192])
def test_int8_linear(dtype: torch.dtype, width: int) -> None:
    """Widths that are rotated, and one that isn't."""
    states = random(1, 6, width, dtype=dtype)
    states[0, 2] *= 100
    states[0, 4] = 0
    layer = Int8Linear(nn.Linear(width, 48))
    levels, scale = torch.ops.rewardserve.quantize(states)
    expected_levels, expected_scale = torch_operators._quantize(states)
    assert (levels.int() - expected_levels.int()).abs().max() <= 1
    assert_close(scale, expected_scale, torch.float32)
    packed = torch.ops.onednn.qlinear_prepack(layer.weight, None)
    rest = (layer.weight_scale, layer.weight_zero, layer.bias, dtype)
    actual = torch.ops.rewardserve.linear_int8(levels, scale, packed, *rest)
    assert_close(actual, torch_operators._linear_int8(levels, scale, layer.weight, *rest), dtype)


def test_a_row_is_quantised_by_itself() -> None:
    states = random(1, 5, 128, dtype=torch.bfloat16)
    alone = torch.ops.rewardserve.quantize(states[:, 1:2])
    states[0, 3] *= 1000
    levels, scale = torch.ops.rewardserve.quantize(states)
    assert torch.equal(levels[:, 1:2], alone[0])
    assert torch.equal(scale[1:2], alone[1])


def test_rotation_leaves_products_and_spreads_outliers() -> None:
    weight, states = random(3, 128, dtype=torch.float32), random(5, 128, dtype=torch.float32, seed=1)
    states[:, 7] = 100
    rotated = torch_operators.rotate(states)
    assert_close(rotated @ torch_operators.rotate(weight).T, states @ weight.T, torch.float32)
    assert rotated.abs().max() < 20


def test_without_a_compiler_the_operators_still_run(tmp_path: Path) -> None:
    script = """
import warnings, torch
from rewardserve_export.runtime.torch_kernels import load_kernels
from rewardserve_export.graph._fusion import Int8Linear
from rewardserve_export.runtime import torch_operators
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert not load_kernels()
(warning,) = caught
assert "CXX" in str(warning.message), warning.message
assert torch.ops.rewardserve.rms_norm(torch.ones(1, 2), torch.ones(2), 0.0).tolist() == [[1.0, 1.0]]
"""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "CXX": str(tmp_path / "no-such-compiler")}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
