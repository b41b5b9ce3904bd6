"""What the tests of the client share: contracts and tokenizers without a server, a stub for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from google.protobuf import text_format
from rewardserve import RewardContract
from rewardserve_export import ExportOptions, export
from rewardserve_server import ServeOptions, TritonProcess
from support import contracts
from support.checkpoints import VOCABULARY, llama_config, save_huggingface, save_tokenizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BloomConfig,
    BloomForSequenceClassification,
    LlamaForSequenceClassification,
)
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

LABELS = {0: "helpfulness", 1: "correctness", 2: "verbosity"}


@pytest.fixture
def make_contract() -> Callable[..., RewardContract]:
    """See support.contracts."""
    return contracts.make_contract


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(directory)
    return directory / "tokenizer.json"


@pytest.fixture
def stub(server: TritonProcess) -> Iterator[Any]:
    """gRPC as it is, to say what RewardClient wouldn't."""
    with grpc.insecure_channel(server.grpc_url) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind: several labels, values at every token, an encoder, a family that is padded."""
    directory = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    attributes = LlamaForSequenceClassification(llama_config(num_labels=3, id2label=LABELS))
    torch.nn.init.normal_(attributes.score.weight)
    encoder = BertForSequenceClassification(
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=256,
            num_labels=1,
        )
    )
    padded = BloomForSequenceClassification(
        BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, num_labels=1, pad_token_id=1)
    )
    return {
        "attributes": save_huggingface(directory / "attributes", attributes),
        "critic": save_huggingface(directory / "critic"),
        "encoder": save_huggingface(directory / "encoder", encoder),
        "padded": save_huggingface(directory / "padded", padded),
    }


@pytest.fixture(scope="session")
def kinds_url(kinds: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of all of them; `critic` has two instances, and answers values."""
    repository = tmp_path_factory.mktemp("kinds") / "repository"
    for name, checkpoint in kinds.items():
        options = ExportOptions(
            repository=repository, name=name, max_length=256, max_request_tokens=256, values=name == "critic"
        )
        export(checkpoint, options)
    file = repository / "critic" / "config.pbtxt"
    config = text_format.Parse(file.read_text(), ModelConfig())
    config.instance_group[0].count = 2
    file.write_text(text_format.MessageToString(config))
    with TritonProcess(ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)) as server:
        server.wait_until_ready()
        yield server.grpc_url
