"""The models of `faults`: a small Llama, and what a server might hold in its place by mistake."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks._models import save_word_tokenizer
from benchmarks._poison import poison
from benchmarks._setup import MODEL, say

__all__ = ["POISON", "FaultModels", "rollouts"]

POISON = "w31999"
"""The word whose embedding isn't finite in the repository `poisoned`; no other text holds it."""

_WORDS = range(3, 31_999)
_PROMPT_WORDS, _RESPONSE_WORDS = 16, 16
_HIDDEN = 256
_CONFIG: dict[str, Any] = {
    "vocab_size": 32_000,
    "hidden_size": _HIDDEN,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "num_labels": 1,
}


_CHAT_TEMPLATE = "{% for message in messages %}{{ message.role }} {{ message.content }} {% endfor %}"
"""Roles aren't words of the tokenizer; all become its padding, which is a token like any other here."""


@dataclass(frozen=True, kw_only=True)
class FaultModels:
    """Model repositories, each made when it is asked for first.

    Attributes:
        directory: Where they go.
    """

    directory: Path

    @cached_property
    def plain(self) -> Path:
        """The model as it should be. One thread an instance: two replicas then have a core each."""
        return self._export("plain", self._plain_checkpoint)

    @cached_property
    def other_weights(self) -> Path:
        """Another model under the same name and version."""
        return self._export("other-weights", self._other_checkpoint)

    @cached_property
    def two_versions(self) -> Path:
        """The model, and the other one as its version 2."""
        repository = self._copy("two-versions")
        self._export("two-versions", self._other_checkpoint)
        return repository

    @cached_property
    def other_tokenizer(self) -> Path:
        """The same weights, and a tokenizer that numbers two words the other way round."""
        checkpoint = shutil.copytree(self._plain_checkpoint, self.directory / "swapped-checkpoint")
        file = checkpoint / "tokenizer.json"
        tokenizer = json.loads(file.read_text())
        ids = tokenizer["model"]["vocab"]
        ids["w3"], ids["w4"] = ids["w4"], ids["w3"]
        file.write_text(json.dumps(tokenizer))
        return self._export("other-tokenizer", checkpoint)

    @cached_property
    def poisoned(self) -> Path:
        """The same export, but for one word's embedding: infinite, as after a training that diverged."""
        repository = self._copy("poisoned")
        poison(repository / MODEL / "1" / "model.onnx", int(POISON[1:]))
        return repository

    @cached_property
    def crowded(self) -> Path:
        """The same export, with a queue that holds one request."""
        from google.protobuf import text_format
        from tritonclient.grpc.model_config_pb2 import ModelConfig

        repository = self._copy("crowded")
        file = repository / MODEL / "config.pbtxt"
        config = text_format.Parse(file.read_text(), ModelConfig())
        config.dynamic_batching.default_queue_policy.max_queue_size = 1
        file.write_text(text_format.MessageToString(config))
        return repository

    @cached_property
    def _plain_checkpoint(self) -> Path:
        return self._checkpoint("plain-checkpoint", seed=0)

    @cached_property
    def _other_checkpoint(self) -> Path:
        return self._checkpoint("other-checkpoint", seed=1)

    def _checkpoint(self, name: str, *, seed: int) -> Path:
        import torch
        from transformers import LlamaConfig, LlamaForSequenceClassification
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.manual_seed(seed)
        model = LlamaForSequenceClassification(LlamaConfig(**_CONFIG))
        torch.nn.init.normal_(model.score.weight, std=_HIDDEN**-0.5)  # rewards with a spread of about 1
        directory = self.directory / name
        model.save_pretrained(directory)
        save_word_tokenizer(directory)
        (directory / "chat_template.jinja").write_text(_CHAT_TEMPLATE)
        return directory

    def _export(self, name: str, checkpoint: Path) -> Path:
        from rewardserve_export import ExportOptions, export

        say(f"faults: exporting {name}")
        # Small requests: a call of many texts becomes many of them, and faults come in its middle.
        options = ExportOptions(
            repository=self.directory / name, name=MODEL, max_length=256, max_request_tokens=512, threads=1
        )
        export(checkpoint, options)
        return options.repository

    def _copy(self, name: str) -> Path:
        return shutil.copytree(self.plain, self.directory / name)


def rollouts(calls: int, responses: int, *, seed: int) -> list[list[str]]:
    """The texts of calls, each a few responses to a prompt of its own: random words, so that no two texts are alike."""
    import numpy as np

    random = np.random.default_rng(seed)

    def words(count: int) -> str:
        return " ".join(f"w{word}" for word in random.integers(_WORDS.start, _WORDS.stop, count))

    return [
        [f"{prompt} {words(_RESPONSE_WORDS)}" for _ in range(responses)]
        for prompt in (words(_PROMPT_WORDS) for _ in range(calls))
    ]
