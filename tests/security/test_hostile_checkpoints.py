"""A checkpoint from a stranger costs an error of ours, in bounded time and memory, and runs no code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rewardserve_export import ExportOptions, ServingTarget, inspect_checkpoint, plan
from rewardserve_export.checkpoint import load_reward_model, open_checkpoint
from support.checkpoints import save_huggingface
from support.hostile_checkpoints import CASES, Command, save_adapter
from support.limited import run_limited


def use(path: Path, command: Command) -> Any:
    """What a user does with a checkpoint."""
    if command == "inspect":
        return inspect_checkpoint(path)
    if command == "plan":
        return plan(path, ExportOptions(repository=path, max_length=64), ServingTarget())
    opened = open_checkpoint(path)
    return load_reward_model(opened) if command == "load" else encode(opened.tokenizer.content)


def encode(tokenizer: bytes) -> Any:
    """As a client tokenizes a text that the tokenizer's maker had in mind."""
    from hashlib import sha256

    from rewardserve import Tokenization
    from rewardserve._tokenizer import Encoder, load_tokenizer

    name = sha256(tokenizer).hexdigest()
    loaded = load_tokenizer(name, None, lambda: tokenizer)
    return Encoder(loaded, Tokenization(tokenizer_sha256=name, max_length=1000)).encode(["a" * 40 + "!"])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_huggingface(tmp_path_factory.mktemp("good") / "checkpoint")


@pytest.mark.parametrize("name", CASES)
def test_it_gets_an_error_of_ours(name: str, good: Path, tmp_path: Path) -> None:
    case = CASES[name]
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(good, checkpoint)
    case.spoil(checkpoint)
    outcome = run_limited(use, checkpoint, case.command)
    assert (outcome.kind, outcome.ours) == (case.gets, True), outcome
    assert case.message in outcome.text
    assert not (checkpoint / "it ran").exists()


@pytest.mark.parametrize("command", ["inspect", "plan", "load", "tokenize"])
@pytest.mark.parametrize("adapter", [False, True])
def test_a_good_one_gets_none(good: Path, tmp_path: Path, command: Command, adapter: bool) -> None:
    """Else the errors above would tell nothing."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(good, checkpoint)
    if adapter:
        save_adapter(checkpoint)
    outcome = run_limited(use, checkpoint, command)
    assert outcome.kind == "returned", outcome


@pytest.mark.parametrize("name", [".bin: pickle that makes a directory", ".bin: the same in torch's old format"])
def test_the_pickles_are_dangerous(name: str, good: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(good, checkpoint)
    CASES[name].spoil(checkpoint)
    torch.load(checkpoint / "pytorch_model.bin", weights_only=False)
    assert (checkpoint / "it ran").exists()


def allocate() -> int:
    return len(bytearray(8 << 30))


def test_memory_is_bounded() -> None:
    """Else what takes too much of it would pass for harmless."""
    assert run_limited(allocate).kind == "MemoryError"
