"""Packed attention against transformers' own, and the backbones that it would get wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rewardserve import UnsupportedModelError
from rewardserve_export import ExportOptions, export
from rewardserve_export.checkpoint import RewardModel, load_reward_model, open_checkpoint
from rewardserve_export.graph import GraphLimits, trace_onnx
from rewardserve_export.graph._layout import BLOCK_TOKENS
from rewardserve_export.parity import (
    Tokens,
    compare,
    difference,
    each_its_own_request,
    eager_runner,
    onnx_runner,
    packed_scorer,
    parity_sequences,
    prefixes_shared,
    transformers_scorer,
)
from support.backbones import TINY, reward_model
from support.checkpoints import edit_config, save_huggingface
from transformers import (
    BloomConfig,
    BloomForSequenceClassification,
    Gemma2Config,
    Gemma2Model,
    Gemma3TextConfig,
    Gemma3TextForSequenceClassification,
    Gemma3TextModel,
    GptOssConfig,
    GptOssModel,
    Llama4TextConfig,
    Llama4TextModel,
    MistralConfig,
    MistralForSequenceClassification,
    Qwen2MoeConfig,
    Qwen2MoeModel,
)

WINDOW = 100
TOLERANCE = 1e-5
LONG = GraphLimits(vocab_size=400, max_length=1024, max_request_tokens=1500)


@pytest.fixture(scope="module")
def sequences() -> list[Tokens]:
    """Up to four attention blocks; a prefix longer than one, with short and long continuations."""
    random = np.random.default_rng(0)

    def tokens(length: int) -> Tokens:
        return random.integers(0, 400, length, dtype=np.int32)

    prefix, short = tokens(BLOCK_TOKENS + 44), tokens(20)
    longer = [np.concatenate([prefix, tokens(length)]) for length in (1, 2, BLOCK_TOKENS + 1, 700)]
    return [prefix, *longer, short, np.concatenate([short, tokens(WINDOW)]), tokens(1), tokens(1024)]


def mistral(window: int | None) -> MistralForSequenceClassification:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,  # not hidden_size / num_attention_heads
        max_position_embeddings=1024,
        sliding_window=window,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        num_labels=1,
    )
    model = MistralForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight)
    return model


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    return load_reward_model(open_checkpoint(save_huggingface(tmp_path_factory.mktemp("mistral"), mistral(WINDOW))))


@pytest.mark.parametrize("window", [None, WINDOW])
def test_long_sequences_and_prefixes_score_as_in_transformers(
    window: int | None,
    sequences: list[Tokens],
    tmp_path: Path,
    traced: Callable[[RewardModel, GraphLimits], Path],
) -> None:
    model = load_reward_model(open_checkpoint(save_huggingface(tmp_path, mistral(window))))
    expected = transformers_scorer(model)(sequences)
    composed = prefixes_shared(LONG.max_request_tokens)
    assert sum(int((request.segments[:, 1] > 0).sum()) for request in composed(sequences)[0]) >= 5
    for run in (eager_runner(model, LONG), onnx_runner(traced(model, LONG))):
        for compose in (each_its_own_request, composed):
            assert difference(expected, packed_scorer(run, compose)(sequences)).largest < TOLERANCE


def test_the_window_matters(windowed: RewardModel, sequences: list[Tokens]) -> None:
    """Else the test above would pass without one."""
    unlimited = transformers_scorer(windowed)(sequences)
    windowed.backbone.config.sliding_window = 2 * WINDOW
    for layer in windowed.backbone.layers:
        layer.self_attn.sliding_window = 2 * WINDOW
    try:
        assert difference(unlimited, transformers_scorer(windowed)(sequences)).largest > 100 * TOLERANCE
    finally:
        windowed.backbone.config.sliding_window = WINDOW
        for layer in windowed.backbone.layers:
            layer.self_attn.sliding_window = WINDOW


def test_rewards_are_those_of_the_classification_model(windowed: RewardModel, sequences: list[Tokens]) -> None:
    """transformers' own head and pooling, where no token is its padding."""
    whole = mistral(WINDOW).eval()
    whole.config.pad_token_id = None

    def score(batch: object) -> np.ndarray:
        with torch.inference_mode():
            return np.array([whole(torch.from_numpy(each.astype(np.int64))[None]).logits.item() for each in batch])  # type: ignore[attr-defined]

    assert compare(score, transformers_scorer(windowed), sequences).largest < TOLERANCE


SMALL = GraphLimits(vocab_size=100, max_length=64, max_request_tokens=64)


FAMILIES = {
    "soft cap": lambda: reward_model(Gemma2Model, Gemma2Config, attn_logit_softcapping=0.5),
    "sinks": lambda: reward_model(
        GptOssModel, GptOssConfig, sliding_window=20, num_local_experts=2, num_experts_per_tok=1
    ),
    "scaling": lambda: reward_model(Gemma3TextModel, Gemma3TextConfig, sliding_window=20, query_pre_attn_scalar=3),
    "window in the mask only": lambda: reward_model(
        Qwen2MoeModel,
        Qwen2MoeConfig,
        use_sliding_window=True,
        sliding_window=20,
        max_window_layers=2,
        num_experts=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
    "chunks": lambda: reward_model(
        Llama4TextModel, Llama4TextConfig, attention_chunk_size=20, num_local_experts=2, intermediate_size_mlp=64
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_scores_exactly_or_is_refused_by_name(family: str) -> None:
    """What it asks of its attention matters to these sequences, so a model that passes does it."""
    model = FAMILIES[family]()
    limits = GraphLimits(vocab_size=100, max_length=200, max_request_tokens=300)
    sequences = parity_sequences(limits)
    try:
        rewards = packed_scorer(eager_runner(model, limits), each_its_own_request)(sequences)
    except UnsupportedModelError as error:
        name = type(model.backbone).__name__.removesuffix("Model").removesuffix("Text")
        assert str(error).startswith(name)
        return
    assert difference(transformers_scorer(model)(sequences), rewards).largest < TOLERANCE


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("window in the mask only", "Qwen2MoeAttention limits its attention to 20 tokens by a mask alone"),
        ("chunks", "Llama4TextAttention limits its attention to 20 tokens by a mask alone"),
    ],
)
def test_a_limit_that_only_the_mask_knows_is_refused_while_tracing(family: str, message: str) -> None:
    """Without a mask it would be lost, and only sequences longer than it would show that."""
    with pytest.raises(UnsupportedModelError, match=message):
        trace_onnx(FAMILIES[family](), GraphLimits(vocab_size=100, max_length=64, max_request_tokens=64))


def rope(kind: str) -> dict[str, object]:
    factors = [1.0] * 4
    return {
        "rope_type": kind,
        "rope_theta": 10000.0,
        "factor": 2.0,
        "original_max_position_embeddings": 512,
        **({"short_factor": factors, "long_factor": factors} if kind == "longrope" else {}),
    }


@pytest.mark.parametrize(
    ("backbone", "parameters", "message"),
    [
        ("llama", rope("dynamic"), "LlamaModel uses dynamic rotary positions"),
        ("llama", rope("longrope"), "LlamaModel uses longrope rotary positions"),
        (
            "gemma3_text",
            {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4}, "full_attention": rope("dynamic")},
            "Gemma3TextModel uses dynamic rotary positions",
        ),
    ],
    ids=["dynamic", "longrope", "dynamic in one type of layer"],
)
def test_positions_that_depend_on_the_batch_are_refused_by_name(
    backbone: str, parameters: dict[str, object], message: str, tmp_path: Path
) -> None:
    """They change only behind the length that the backbone was trained for: no short comparison shows it."""
    model = None
    if backbone == "gemma3_text":
        model = Gemma3TextForSequenceClassification(Gemma3TextConfig(**{**TINY, "vocab_size": 400, "num_labels": 1}))
    checkpoint = save_huggingface(tmp_path / "checkpoint", model)
    edit_config(checkpoint, rope_parameters=parameters)
    with pytest.raises(UnsupportedModelError, match=message):
        export(checkpoint, ExportOptions(repository=tmp_path / "repository"))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_backbone_without_attention_interface_is_exact_or_refused_by_name(tmp_path: Path) -> None:
    """Its code makes masks of its own, with ALiBi in them."""
    torch.manual_seed(0)
    model = BloomForSequenceClassification(
        BloomConfig(vocab_size=400, hidden_size=32, n_layer=1, n_head=4, num_labels=1, pad_token_id=1)
    )
    torch.nn.init.normal_(model.score.weight)
    checkpoint = save_huggingface(tmp_path / "checkpoint", model)
    try:
        summary = export(checkpoint, ExportOptions(repository=tmp_path / "repository", max_length=64))
    except UnsupportedModelError as error:
        assert "BloomModel" in str(error)
        assert not (tmp_path / "repository").exists()
    else:
        assert summary.contract.parity.largest_difference < TOLERANCE
