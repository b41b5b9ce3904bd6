"""A trained checkpoint goes into `export` as it is, and is served with the rewards of its evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from rewardserve import CheckpointError, Normalization, RewardClient
from rewardserve_export import ExportOptions, checkpoint_scorer, export, inspect_checkpoint
from rewardserve_server import ServeOptions, TritonProcess
from rewardserve_training import train
from support import checkpoints
from support.chat_templates import TEMPLATES, save_chat_template
from support.training import read_lines, train_options
from transformers import AutoModelForSequenceClassification, AutoTokenizer

if TYPE_CHECKING:
    from conftest import Trained

TOLERANCE = 2e-5
"""Of normalised rewards: float32 rounding, padded against packed."""


def expected(path: Path, data: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Prompts, responses and rewards of the evaluation's pairs."""
    rows, pairs = read_lines(path / "evaluation.jsonl"), read_lines(data)
    prompts = [pairs[row["line"] - 1]["prompt"] for row in rows for _ in range(2)]
    responses = [pairs[row["line"] - 1][name] for row in rows for name in ("chosen", "rejected")]
    rewards = [row[name] for row in rows for name in ("chosen_reward", "rejected_reward")]
    return prompts, responses, np.array(rewards)


def test_served_rewards_are_the_evaluations(trained: Trained, data: Path, tmp_path: Path) -> None:
    summary = export(trained.path, ExportOptions(repository=tmp_path / "repository"))
    rules = summary.contract.tokenization
    assert rules == trained.summary.tokenization
    assert rules.eos_suffix == "</s>"
    prompts, responses, rewards = expected(trained.path, data)
    options = ServeOptions(repository=tmp_path / "repository", grpc_port=0, http_port=0, metrics_port=0)
    with TritonProcess(options) as server:
        server.wait_until_ready()
        with RewardClient(server.grpc_url) as client:
            served = client.score_pairs(prompts, responses)
    np.testing.assert_allclose(served, rewards, atol=TOLERANCE)


def test_transformers_reads_it_back(trained: Trained, data: Path) -> None:
    """Its own pooling, in a padded batch, scores the EOS, too: the padding token isn't EOS any more."""
    tokenizer = AutoTokenizer.from_pretrained(trained.path)
    model = AutoModelForSequenceClassification.from_pretrained(trained.path)
    assert type(model).__name__ == "LlamaForSequenceClassification"
    assert model.config.num_labels == 1
    assert tokenizer.pad_token != tokenizer.eos_token
    prompts, responses, rewards = expected(trained.path, data)
    texts = [prompt + response + "</s>" for prompt, response in zip(prompts, responses, strict=True)]
    with torch.no_grad():
        raw = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0].numpy()
    mean, std = trained.summary.mean, trained.summary.std
    np.testing.assert_allclose((raw - mean) / std, rewards, atol=TOLERANCE)


def test_openrlhf_format(base: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    summary = train(base, train_options(data, output, save_format="openrlhf", normalize=True, max_steps=2))
    assert summary is not None
    config = json.loads((output / "config.json").read_text())
    assert config["architectures"] == ["RewardModel"]
    assert config["value_head_prefix"] == "score"
    report = inspect_checkpoint(output)
    assert report.format == "OpenRLHF"
    assert report.head == "score.weight"
    assert report.normalization == Normalization(mean=summary.mean, std=summary.std)
    assert report.trained_tokenization == summary.tokenization
    assert summary.tokenization.forced_last_id == 1


def test_conversations_score_the_same_from_the_checkpoint(data: Path, tmp_path: Path) -> None:
    """With BOS from the tokenizer for texts and from the template for conversations."""
    base = checkpoints.save_huggingface(tmp_path / "base", bos=True)
    save_chat_template(base, TEMPLATES["llama3"])
    output = tmp_path / "model"
    summary = train(base, train_options(data, output, chat=True, tokenization="trl", max_steps=2, lora_rank=2))
    assert summary is not None
    assert summary.tokenization.adds_bos
    prompts, responses, rewards = expected(output, data)
    chats = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    np.testing.assert_allclose(checkpoint_scorer(output).score_chat(chats), rewards, atol=TOLERANCE)


def test_another_tokenizer_is_refused(base: Path, data: Path, tmp_path: Path) -> None:
    train(base, train_options(data, tmp_path / "model", max_steps=1))
    checkpoints.save_tokenizer(tmp_path / "model", bos=True)
    with pytest.raises(CheckpointError, match=r"was trained with the tokenizer of sha256"):
        export(tmp_path / "model", ExportOptions(repository=tmp_path / "repository"))
