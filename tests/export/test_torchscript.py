"""Exports in TorchScript: what is traced, and that the server answers what transformers would."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rewardserve import ExportError, RewardClient, UnsupportedModelError
from rewardserve_export import ExportOptions, export
from rewardserve_export.checkpoint import RewardModel, load_reward_model, open_checkpoint
from rewardserve_export.graph import GraphLimits, probe, write_torchscript
from rewardserve_export.graph._fusion import FusedMLP, FusedNorm, Int8Linear, PackedLinear, fused
from rewardserve_export.parity import (
    difference,
    each_its_own_request,
    packed_scorer,
    parity_sequences,
    prefixes_shared,
    shuffled,
    torchscript_runner,
    transformers_scorer,
)
from rewardserve_export.repository import read_config
from rewardserve_export.runtime.torch_engine import _bind
from rewardserve_server import ServeOptions, TritonProcess
from support.families import FAMILIES, LIMITS, Family, build
from torch import nn

TOLERANCE = 5e-6
"""As for ONNX: two layers deep, rounding is below 1e-6."""


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> RewardModel:
    return load_reward_model(open_checkpoint(checkpoint))


@pytest.fixture(scope="module")
def limits(model: RewardModel) -> GraphLimits:
    vocabulary: int = model.backbone.config.vocab_size
    return GraphLimits(vocab_size=vocabulary, max_length=512, max_request_tokens=600)


def kinds(module: nn.Module) -> set[type[nn.Module]]:
    return {type(part) for part in module.modules()}


def test_modules_are_replaced_for_a_while(model: RewardModel) -> None:
    before = [type(part) for part in model.backbone.modules()]
    with fused(model.backbone):
        assert {FusedMLP, FusedNorm, PackedLinear} <= kinds(model.backbone)
        assert nn.Linear not in kinds(model.backbone)
    assert [type(part) for part in model.backbone.modules()] == before


def test_only_named_layers_become_int8(model: RewardModel) -> None:
    with fused(model.backbone, frozenset({"layers.0.mlp.up_proj"})):
        layers = [name for name, part in model.backbone.named_modules() if isinstance(part, Int8Linear)]
    assert layers == ["layers.0.mlp.up_proj"]


def test_a_norm_of_another_formula_stays() -> None:
    class OffsetNorm(nn.Module):  # Gemma's
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(8))
            self.eps = 1e-6

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return states * torch.rsqrt(states.square().mean(-1, keepdim=True) + self.eps) * (1 + self.weight)

    parent = nn.Sequential(OffsetNorm(), nn.RMSNorm(8, eps=1e-6))
    with fused(parent):  # type: ignore[arg-type] - any module will do
        assert [type(part) for part in parent] == [OffsetNorm, FusedNorm]


@pytest.mark.parametrize(
    ("precision", "operators"),
    [("fp32", True), ("fp32", False), ("bf16", True), ("bf16", False), ("fp16", False), ("int8", True)],
)
def test_rewards_do_not_depend_on_their_company(
    precision: str, operators: bool, model: RewardModel, limits: GraphLimits, tmp_path: Path
) -> None:
    write_torchscript(model, limits, precision, tmp_path, operators=operators)
    run, sequences = torchscript_runner(tmp_path / "model.pt"), parity_sequences(limits)
    alone = packed_scorer(run, each_its_own_request)(sequences)
    together = packed_scorer(run, shuffled(3, limits.max_request_tokens))(sequences)
    rounding = 1e-5 if precision == "fp32" else 2e-2
    scale = max(1.0, float(np.abs(alone).max()))
    assert np.abs(alone - together).max() <= rounding * scale
    expected = transformers_scorer(model)(sequences)
    assert np.abs(alone - expected).max() <= {"fp32": 1e-5, "int8": 0.3}.get(precision, 5e-2) * scale
    assert next(model.backbone.parameters()).dtype == torch.float32


@pytest.mark.parametrize("operators", [True, False])
def test_a_graph_runs_wholly_on_the_device_it_is_bound_to(
    operators: bool, model: RewardModel, limits: GraphLimits, tmp_path: Path
) -> None:
    def devices(graph: torch.jit.ScriptModule) -> set[str]:
        inlined = graph.inlined_graph  # a copy, whose nodes don't outlive it
        constants = inlined.findAllNodes("prim::Constant")
        return {node.s("value") for node in constants if node.output().type().kind() == "DeviceObjType"}

    path = write_torchscript(model, limits, "bf16", tmp_path, operators=operators)
    with pytest.warns(DeprecationWarning, match="torch.jit.load"):
        loaded, bound = torch.jit.load(str(path)), torch.jit.load(str(path))
    # The stock backend binds nothing: without operators, there must be nothing to bind.
    assert devices(loaded) == ({"cpu"} if operators else set())
    _bind(bound, torch.device("cuda:0"))
    assert devices(bound) == ({"cuda:0"} if operators else set())


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_export_and_serve(precision: str, checkpoint: Path, tmp_path: Path) -> None:
    options = ExportOptions(
        repository=tmp_path, format="torchscript", precision=precision, max_length=512, threads=1, values=True
    )
    summary = export(checkpoint, options)
    assert summary.contract.precision == precision
    config = read_config(tmp_path / "reward" / "config.pbtxt")
    assert (config.backend, config.parameters["threads"].string_value) == ("python", "1")
    sequences = parity_sequences(GraphLimits(vocab_size=300, max_length=512, max_request_tokens=512))
    expected = transformers_scorer(load_reward_model(open_checkpoint(checkpoint)))(sequences)
    with TritonProcess(ServeOptions(repository=tmp_path, grpc_port=0, http_port=0, metrics_port=0)) as server:
        server.wait_until_ready()
        with RewardClient(server.grpc_url) as client:
            rewards = client.score_tokens([tokens.tolist() for tokens in sequences])
    parity = summary.contract.parity
    assert np.abs(rewards - expected).max() <= 1.5 * parity.largest_difference + parity.batch_deviation


def test_export_for_the_stock_backend(checkpoint: Path, tmp_path: Path) -> None:
    summary = export(
        checkpoint, ExportOptions(repository=tmp_path, format="torchscript", backend="pytorch", max_length=512)
    )
    assert sorted(file.name for file in summary.path.iterdir()) == [
        "contract.json",
        "manifest.json",
        "model.pt",
        "tokenizer.json",
    ]
    config = read_config(tmp_path / "reward" / "config.pbtxt")
    assert (config.backend, config.platform) == ("pytorch", "pytorch_libtorch")
    assert [entry.target_name[0] for entry in config.batch_input] == ["request_tokens", "request_segments"]
    assert [entry.target_name[0] for entry in config.batch_output] == ["rewards", "fingerprints"]
    with pytest.warns(DeprecationWarning, match="torch.jit.load"):
        graph = torch.jit.load(str(summary.path / "model.pt"))
    # The stock backend finds inputs by the names of these arguments, and outputs by their order.
    arguments = [argument.name for argument in graph.forward.schema.arguments]
    assert arguments == ["self", "input_ids", "segments", "request_tokens", "request_segments"]
    assert "rewardserve::" not in str(graph.inlined_graph)
    assert json.loads((summary.path / "contract.json").read_text())["parity"]["largest_difference"] < 1e-4


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_type)
def test_a_family_is_exact_or_refused_by_name(family: Family, tmp_path: Path) -> None:
    model = build(family)
    traits = probe(model.backbone, LIMITS.vocab_size)
    limits = replace(LIMITS, bidirectional=traits.bidirectional, padded=traits.padded)
    if traits.padded or model.backbone._can_set_experts_implementation():
        with pytest.raises(UnsupportedModelError, match=f"{type(model.backbone).__name__}.*--format onnx"):
            write_torchscript(model, limits, "fp32", tmp_path, operators=True)
        return
    write_torchscript(model, limits, "fp32", tmp_path, operators=True)
    run, sequences = torchscript_runner(tmp_path / "model.pt"), parity_sequences(limits)
    compose = each_its_own_request if limits.bidirectional else prefixes_shared(limits.max_request_tokens)
    expected, actual = transformers_scorer(model)(sequences), packed_scorer(run, compose)(sequences)
    assert difference(expected, actual).largest < TOLERANCE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "pytorch"}, "doesn't run onnx"),
        ({"format": "torchscript", "backend": "onnxruntime"}, "doesn't run torchscript"),
        ({"backend": "onnxruntime", "threads": 2}, "Python backend"),
        ({"format": "torchscript", "backend": "pytorch", "precision": "int8"}, "int8"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        ExportOptions(repository=tmp_path, **options)  # type: ignore[arg-type]
