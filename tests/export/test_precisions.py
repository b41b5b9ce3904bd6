"""Graphs in reduced precisions: as close to float32 as transformers in that precision, whatever a batch holds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from rewardserve import ExportError, ParityError, UnsupportedModelError, _wire
from rewardserve_export import ExportOptions, export
from rewardserve_export.checkpoint import RewardModel
from rewardserve_export.graph import GraphLimits, Precision, in_precision, trace_onnx
from rewardserve_export.graph._int8 import quantize_rows, quantized_layers, rotation, round_rows
from rewardserve_export.parity import check_parity, onnx_runner
from rewardserve_export.repository import read_config
from support.backbones import reward_model
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

LIMITS = GraphLimits(vocab_size=100, max_length=300, max_request_tokens=700)
FLOAT, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8
STORED = {"bf16": onnx.TensorProto.BFLOAT16, "fp16": onnx.TensorProto.FLOAT16, "int8": INT8}
REDUCED = list(STORED)


@pytest.fixture(scope="module")
def small() -> RewardModel:
    """Token 7 is an outlier: its embedding is a thousand times as large in two channels."""
    model = reward_model(LlamaModel, LlamaConfig)
    model.backbone.embed_tokens.weight[7, :2] *= 1000
    return model


@pytest.fixture(scope="module")
def graphs(small: RewardModel, traced: Callable[..., Path]) -> dict[str, Path]:
    return {precision: traced(small, LIMITS, precision) for precision in REDUCED}


def weights(graph: Path) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in onnx.load(graph, load_external_data=False).graph.initializer}


def nothing(_done: int, _steps: int) -> None: ...


@pytest.mark.parametrize("precision", REDUCED)
def test_parity_is_measured_and_bounded(precision: Precision, small: RewardModel, graphs: dict[str, Path]) -> None:
    before = set(graphs[precision].parent.iterdir())
    steps: list[tuple[int, int]] = []
    parity = check_parity(small, graphs[precision], LIMITS, lambda done, total: steps.append((done, total)), precision)
    assert 1e-5 < parity.largest_difference < 0.1, "neither float32 nor nonsense"
    assert parity.batch_deviation < parity.largest_difference
    assert steps == [(place + 1, len(steps)) for place in range(len(steps))]
    assert set(graphs[precision].parent.iterdir()) == before


@pytest.mark.parametrize("precision", REDUCED)
def test_head_and_wire_stay_as_they_are(precision: str, graphs: dict[str, Path]) -> None:
    graph = onnx.load(graphs[precision], load_external_data=False).graph
    assert {value.type.tensor_type.elem_type for value in graph.input} == {onnx.TensorProto.INT32}
    types = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    assert types == {_wire.REWARDS: FLOAT, _wire.FINGERPRINTS: onnx.TensorProto.INT32}
    stored = weights(graphs[precision])
    assert stored["model.head.linear.weight"].data_type == FLOAT
    backbone = {name: tensor.data_type for name, tensor in stored.items() if "proj.weight" in name}
    assert sum(kind == STORED[precision] for kind in backbone.values()) == 14
    assert set(backbone.values()) <= {STORED[precision], FLOAT} and len(backbone) == (28 if precision == "int8" else 14)


def test_int8_shrinks_the_file(small: RewardModel, graphs: dict[str, Path], traced: Callable[..., Path]) -> None:
    size = {path: (path.parent / "model.onnx.data").stat().st_size for path in (graphs["int8"], graphs["bf16"])}
    wide = (traced(small, LIMITS).parent / "model.onnx.data").stat().st_size
    assert size[graphs["bf16"]] < 0.7 * wide
    assert size[graphs["int8"]] < 0.7 * wide


def test_a_strangers_outliers_change_no_reward_in_int8(graphs: dict[str, Path]) -> None:
    """One scale for the whole batch would be a thousand times too wide for the others."""
    run = onnx_runner(graphs["int8"])
    tokens = np.arange(10, 70, dtype=np.int32)
    request, stranger = (
        (tokens, np.array([[60, 0]], np.int32)),
        (np.full(40, 7, np.int32), np.array([[40, 0]], np.int32)),
    )
    alone, _ = run(_wire.graph_inputs([request]))
    for batch, place in (([request, stranger], 0), ([stranger, request], 1), ([stranger] * 5 + [request], 5)):
        rewards, _ = run(_wire.graph_inputs(batch))
        assert abs(rewards[place] - alone[0]) < 1e-6


@pytest.mark.parametrize("precision", REDUCED)
def test_wrong_weights_are_found(precision: Precision, small: RewardModel, graphs: dict[str, Path]) -> None:
    other = copy.deepcopy(small)
    other.backbone.layers[1].self_attn.v_proj.weight *= -1
    with pytest.raises(ParityError, match="the exported graph"):
        check_parity(other, graphs[precision], LIMITS, nothing, precision)


def test_a_model_whose_numbers_dont_fit_is_refused(graphs: dict[str, Path]) -> None:
    large = reward_model(LlamaModel, LlamaConfig)
    large.backbone.embed_tokens.weight *= 1e6
    with pytest.raises(ParityError, match=r"NaN or infinity in fp16.*Remedy: --precision bf16"):
        check_parity(large, graphs["fp16"], LIMITS, nothing, "fp16")


@pytest.mark.parametrize("precision", REDUCED)
def test_the_model_is_float32_again(precision: Precision) -> None:
    model = reward_model(LlamaModel, LlamaConfig)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    tokens = torch.arange(20)[None]
    expected = model(tokens)
    with pytest.raises(ZeroDivisionError), in_precision(model.backbone, precision):
        assert not torch.equal(model(tokens), expected)
        assert model(tokens).dtype == torch.float32
        _ = 1 / 0
    assert all(torch.equal(before[name], weight) for name, weight in model.named_parameters())
    assert torch.equal(model(tokens), expected)


@pytest.mark.parametrize("width", [512, 1376, 48, 7])
def test_rows_are_rotated_and_rounded_to_their_own_scale(width: int) -> None:
    matrix = rotation(width)
    assert torch.allclose(matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-6)
    rows = torch.randn(5, width, generator=torch.Generator().manual_seed(1))
    rows[2] = 0
    rounded, scale = quantize_rows(rows)
    assert rounded.dtype == torch.int8
    assert int(rounded[[0, 1, 3, 4]].abs().amax(-1).min()) == 127
    error = (round_rows(rows) - rows).norm(dim=-1)
    assert bool((error <= scale.squeeze(1) * width**0.5 / 2 + 1e-6).all())
    assert torch.equal(quantize_rows(rows[3:4])[0], rounded[3:4])


def test_rotation_keeps_an_outlier_from_taking_the_steps() -> None:
    rows = torch.randn(1, 512, generator=torch.Generator().manual_seed(1))
    rows[0, 100] = 100
    others = torch.arange(512) != 100
    error = (round_rows(rows) - rows)[0, others].norm() / rows[0, others].norm()
    assert error < 0.5 * (100 / 127) / 12**0.5


def test_routers_and_poolers_stay_wide() -> None:
    bert = BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64))
    assert "pooler.dense" not in quantized_layers(bert)
    assert "encoder.layer.0.output.dense" in quantized_layers(bert)
    assert quantized_layers(torch.nn.ModuleDict({"gate": torch.nn.Linear(64, 4), "up": torch.nn.Linear(64, 8)})) == [
        "up"
    ]


def test_int8_without_a_linear_layer_is_refused() -> None:
    """GPT-2 keeps its weights in layers of another kind."""
    model = reward_model(GPT2Model, GPT2Config, n_embd=32, n_layer=1, n_head=4)
    with pytest.raises(UnsupportedModelError, match=r"no linear layer that int8 could be used for\. Remedy"):
        trace_onnx(model, LIMITS, "int8")


def test_cuda_attention_needs_a_precision_of_gpus(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"fp16 and bf16 only, not in fp32\. Remedy"):
        ExportOptions(repository=tmp_path, attention="cuda")
    assert ExportOptions(repository=tmp_path, attention="cuda", precision="bf16").attention == "cuda"


def test_export_in_int8_for_a_stock_backend(checkpoint: Path, tmp_path: Path) -> None:
    options = ExportOptions(repository=tmp_path, backend="onnxruntime", precision="int8", max_length=128)
    summary = export(checkpoint, options)
    assert summary.contract.precision == "int8"
    assert 1e-5 < summary.contract.parity.largest_difference < 0.1
    assert summary.contract.parity.batch_deviation < 1e-6
    config = read_config(tmp_path / "reward" / "config.pbtxt")
    assert config.backend == "onnxruntime"
    assert {output.name: output.data_type for output in config.output}[_wire.REWARDS] == 11  # TYPE_FP32
