"""Preference pairs that a tiny model learns in seconds, and bases to train."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from rewardserve_training import TrainOptions
from transformers import LlamaForCausalLM

from support.checkpoints import llama_config, save_huggingface

WORDS = ["the", "reward", "of", "a", "is", "higher", "than", "that", "one", "nice", "fine"]


def save_language_model(directory: Path) -> Path:
    """A causal model without value head, pad = eos in its config."""
    torch.manual_seed(0)
    return save_huggingface(directory, LlamaForCausalLM(llama_config()))


def write_pairs(path: Path, count: int = 120, **fields: Any) -> Path:
    """Answers are of `good` words or of `bad` ones, with others between; one pair in ten is labelled wrongly."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            answers = [f"{kind} {' '.join(draw.choices(WORDS, k=draw.randint(1, 6)))}" for kind in ("good", "bad")]
            chosen, rejected = answers if draw.random() < 0.9 else answers[::-1]
            prompt = " ".join(draw.choices(WORDS, k=draw.randint(2, 8))) + ": "
            row = {"prompt": prompt, "chosen": chosen, "rejected": rejected, **fields}
            file.write(json.dumps(row) + "\n")
    return path


def train_options(data: Path, output: Path, **changes: Any) -> TrainOptions:
    """A training of a few seconds."""
    settings = {"eval_fraction": 0.2, "max_steps": 20, "learning_rate": 3e-3, "logging_steps": 1}
    return TrainOptions(data=data, output=output, **{**settings, **changes})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
