"""ONNX graphs in reduced precisions, and the attention that is made for CUDA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from rewardserve import ExportError, UnsupportedModelError
from rewardserve_export import ExportOptions, export
from rewardserve_export.checkpoint import RewardModel, load_reward_model, open_checkpoint
from rewardserve_export.graph import GraphLimits, trace_onnx, write_onnx
from rewardserve_export.parity import (
    check_parity,
    difference,
    each_its_own_request,
    onnx_runner,
    packed_scorer,
    parity_sequences,
    prefixes_shared,
    shuffled,
    transformers_scorer,
)
from support.families import FAMILIES, LIMITS, build

CASES = [("bf16", "loop"), ("fp16", "loop"), ("bf16", "cuda"), ("fp16", "cuda"), ("int8", "loop")]
STORED = {"bf16": onnx.TensorProto.BFLOAT16, "fp16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.INT8}


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> RewardModel:
    return load_reward_model(open_checkpoint(checkpoint))


@pytest.fixture(scope="module")
def limits(model: RewardModel) -> GraphLimits:
    vocabulary: int = model.backbone.config.vocab_size
    return GraphLimits(vocab_size=vocabulary, max_length=512, max_request_tokens=600)


@pytest.mark.parametrize(("precision", "attention"), CASES)
def test_a_precision(precision: str, attention: str, model: RewardModel, limits: GraphLimits, tmp_path: Path) -> None:
    path = write_onnx(trace_onnx(model, limits, precision, attention), tmp_path)  # type: ignore[arg-type]
    parity = check_parity(model, path, limits, lambda *_: None, precision)  # type: ignore[arg-type]
    assert 0 < parity.largest_difference < 0.2
    graph = onnx.load(path, load_external_data=False).graph
    assert {output.name: output.type.tensor_type.elem_type for output in graph.output} == {
        "rewards": onnx.TensorProto.FLOAT,
        "fingerprints": onnx.TensorProto.INT32,
    }
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    (head,) = (kind for name, kind in stored.items() if "head" in name)
    assert head == onnx.TensorProto.FLOAT
    assert sum(kind == STORED[precision] for kind in stored.values()) >= 14


def test_int8_rewards_do_not_depend_on_their_company(model: RewardModel, limits: GraphLimits, tmp_path: Path) -> None:
    run = onnx_runner(write_onnx(trace_onnx(model, limits, "int8"), tmp_path))
    sequences = parity_sequences(limits)
    alone = packed_scorer(run, each_its_own_request)(sequences)
    together = packed_scorer(run, shuffled(3, limits.max_request_tokens))(sequences)
    np.testing.assert_allclose(together, alone, atol=2e-2)


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gemma2", "gpt2"])
def test_cuda_attention_is_exact_where_it_can_be_run(model_type: str, tmp_path: Path) -> None:
    """In float32, which ONNX Runtime has on CPUs: prefixes and lengths of every kind."""
    model = build(next(family for family in FAMILIES if family.model_type == model_type))
    limits = replace(LIMITS, max_length=15) if model_type == "gemma2" else LIMITS  # shorter than its window
    run = onnx_runner(write_onnx(trace_onnx(model, limits, "fp32", "cuda"), tmp_path))
    sequences = parity_sequences(limits)
    expected = transformers_scorer(model)(sequences)
    for compose in (each_its_own_request, prefixes_shared(limits.max_request_tokens)):
        assert difference(expected, packed_scorer(run, compose)(sequences)).largest < 5e-6


@pytest.mark.parametrize(
    ("model_type", "reason"), [("mistral", "sliding windows"), ("bert", "later tokens"), ("bloom", "padded")]
)
def test_what_cuda_attention_cannot_do_is_refused(model_type: str, reason: str) -> None:
    family = next(family for family in FAMILIES if family.model_type == model_type)
    limits = replace(LIMITS, bidirectional=model_type == "bert", padded=model_type == "bloom")
    with pytest.raises(UnsupportedModelError, match=f"{reason}.*--attention loop"):
        trace_onnx(build(family), limits, "fp32", "cuda")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "cuda"}, "fp16 and bf16 only"),
        ({"attention": "cuda", "precision": "bf16", "format": "torchscript"}, "ONNX Runtime's"),
        ({"precision": "fp8"}, "fp32, bf16, fp16, int8"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        ExportOptions(repository=tmp_path, **options)  # type: ignore[arg-type]


def test_export_in_half_precision(checkpoint: Path, tmp_path: Path) -> None:
    options = ExportOptions(
        repository=tmp_path, backend="onnxruntime", precision="bf16", attention="cuda", max_length=256
    )
    summary = export(checkpoint, options)
    assert summary.contract.precision == "bf16"
    assert sorted(file.name for file in summary.path.iterdir()) == [
        "contract.json",
        "model.onnx",
        "model.onnx.data",
        "tokenizer.json",
    ]
