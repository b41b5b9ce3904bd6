"""GroupQueryAttention in place of the loop: the same rewards, or a refusal. On the CPU, which has the operator, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rewardserve import UnsupportedModelError, _wire
from rewardserve_export.checkpoint import RewardModel
from rewardserve_export.graph import GraphLimits, trace_onnx
from rewardserve_export.graph._cuda_functions import CHUNK_TOKENS
from rewardserve_export.parity import (
    Tokens,
    check_parity,
    difference,
    each_its_own_request,
    one_batch,
    onnx_runner,
    packed_scorer,
    prefixes_shared,
    shuffled,
    transformers_scorer,
)
from support.backbones import reward_model
from transformers import (
    BertConfig,
    BertModel,
    BloomConfig,
    BloomModel,
    Gemma2Config,
    Gemma2Model,
    GptOssConfig,
    GptOssModel,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
)

TOLERANCE = 1e-5
LIMITS = GraphLimits(vocab_size=100, max_length=1024, max_request_tokens=12000)
BACKBONES = {
    "grouped heads": lambda: reward_model(LlamaModel, LlamaConfig),
    "soft cap": lambda: reward_model(Gemma2Model, Gemma2Config, attn_logit_softcapping=0.5, sliding_window=4096),
}


@pytest.fixture(scope="module")
def sequences() -> list[Tokens]:
    """More tokens than a chunk holds, a prefix with short and long continuations, single tokens."""
    random = np.random.default_rng(0)
    lengths = (1, 1, 2, 255, 256, 257, 700, 1024, *[300] * 24)
    alone = [random.integers(0, 100, length, dtype=np.int32) for length in lengths]
    family = [np.concatenate([alone[5], tokens[:700]]) for tokens in (alone[0], alone[2], alone[3], alone[6])]
    assert sum(tokens.size for tokens in (*alone, *family)) > CHUNK_TOKENS
    return [*alone, *family]


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_composition_scores_as_transformers(
    kind: str, sequences: list[Tokens], traced: Callable[..., Path]
) -> None:
    model: RewardModel = BACKBONES[kind]()
    graph = traced(model, LIMITS, "fp32", "cuda")
    assert b"GroupQueryAttention" in graph.read_bytes()
    run, expected = onnx_runner(graph), transformers_scorer(model)(sequences)
    limit = LIMITS.max_request_tokens
    for compose in (one_batch(limit), each_its_own_request, shuffled(1, limit), prefixes_shared(limit)):
        assert difference(expected, packed_scorer(run, compose)(sequences)).largest < TOLERANCE


def test_malformed_requests_hurt_nobody(traced: Callable[..., Path]) -> None:
    run = onnx_runner(traced(BACKBONES["grouped heads"](), LIMITS, "fp32", "cuda"))
    good = (np.arange(50, dtype=np.int32), np.array([[30, 0], [20, 1]], np.int32))
    expected, _ = run(_wire.graph_inputs([good]))
    for tokens, segments in (([5, 6, 7], [[9, 0]]), ([5, 999, 7], [[3, 0]]), ([5, 6, 7], [[2, 0], [1, 5]])):
        bad = (np.array(tokens, np.int32), np.array(segments, np.int32))
        rewards, _ = run(_wire.graph_inputs([bad, good, bad]))
        assert np.isnan(rewards[: len(segments)]).all()
        assert np.isnan(rewards[-len(segments) :]).all()
        assert np.abs(rewards[len(segments) : -len(segments)] - expected).max() < 1e-6


def test_bf16_is_checked_on_this_machine(traced: Callable[..., Path]) -> None:
    model, limits = BACKBONES["grouped heads"](), GraphLimits(vocab_size=100, max_length=300, max_request_tokens=700)
    parity = check_parity(model, traced(model, limits, "bf16", "cuda"), limits, lambda *_: None, "bf16")
    assert 1e-5 < parity.largest_difference < 0.1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: reward_model(MistralModel, MistralConfig, sliding_window=100),
            "has no sliding windows: this model's is 100 tokens, max_length 1024. Remedy: --attention loop",
        ),
        (
            lambda: reward_model(
                GptOssModel, GptOssConfig, sliding_window=4096, num_local_experts=2, num_experts_per_tok=1
            ),
            "has no attention sinks. Remedy: --attention loop",
        ),
        (lambda: reward_model(LlamaModel, LlamaConfig, head_dim=12), "has no heads of 12 numbers"),
    ],
    ids=["window", "sinks", "width"],
)
def test_what_the_operator_cant_do_is_refused(model: Callable[[], RewardModel], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        trace_onnx(model(), LIMITS, "fp32", "cuda")


def test_bidirectional_attention_is_refused() -> None:
    limits = GraphLimits(vocab_size=100, max_length=64, max_request_tokens=64, bidirectional=True)
    with pytest.raises(UnsupportedModelError, match="has no attention to later tokens"):
        trace_onnx(reward_model(BertModel, BertConfig), limits, "fp32", "cuda")


def test_a_padded_model_is_refused() -> None:
    limits = GraphLimits(vocab_size=100, max_length=64, max_request_tokens=64, padded=True)
    with pytest.raises(UnsupportedModelError, match="runs padded"):
        trace_onnx(reward_model(BloomModel, BloomConfig, n_head=4, n_layer=1), limits, "fp32", "cuda")
