"""A served reward model with a chat template, and a policy of the same tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rewardserve import RewardClient
from rewardserve_export import ExportOptions, export
from rewardserve_server import ServeOptions, TritonProcess
from support.chat_templates import LLAMA3, save_chat_template
from support.checkpoints import llama_config, save_huggingface, save_tokenizer
from transformers import LlamaForCausalLM, LlamaForSequenceClassification


@pytest.fixture(scope="session")
def chat_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its template writes BOS, and its tokenizer would add another."""
    directory = save_huggingface(tmp_path_factory.mktemp("chat"), bos=True)
    save_chat_template(directory, LLAMA3)
    return directory


@pytest.fixture(scope="session")
def chat_model(chat_checkpoint: Path) -> LlamaForSequenceClassification:
    """The same in this process."""
    return LlamaForSequenceClassification.from_pretrained(chat_checkpoint).eval()


@pytest.fixture(scope="session")
def chat_url(chat_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of it, as TRL's RewardTrainer would have trained it."""
    repository = tmp_path_factory.mktemp("chat_repository")
    export(chat_checkpoint, ExportOptions(repository=repository, max_length=512, tokenization="trl"))
    options = ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process.grpc_url


@pytest.fixture
def chat_client(chat_url: str) -> Iterator[RewardClient]:
    with RewardClient(chat_url) as client:
        yield client


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model, with padding of its own."""
    directory = tmp_path_factory.mktemp("policy")
    torch.manual_seed(1)
    LlamaForCausalLM(llama_config(pad_token_id=2)).save_pretrained(directory)
    save_tokenizer(directory)
    save_chat_template(directory, LLAMA3)
    return directory
