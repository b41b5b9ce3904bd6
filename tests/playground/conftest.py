"""A playground in a process of its own, before a server of a model with values and a chat template."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from rewardserve import RewardClient
from rewardserve_export import ExportOptions, export
from rewardserve_server import ServeOptions, TritonProcess
from support.chat_templates import LLAMA3, save_chat_template
from support.checkpoints import llama_config, save_huggingface
from transformers import LlamaForSequenceClassification

SCRIPT = Path(sys.executable).parent / "rewardserve"
LABELS = {0: "helpful", 1: "<b>harmless</b>"}
PAIRS = [
    {"prompt": "What is 2 + 2? ", "chosen": "It is 4.", "rejected": "It is 5.", "subset": "sums"},
    {"prompt": "What is 3 + 3? ", "chosen": "It is 6.", "rejected": "It is 5.", "subset": "sums"},
    {"chosen": "Water is wet.", "rejected": "Water is dry.", "subset": "<img src=x onerror='window.hacked = 1'>"},
]


class Playground:
    """`rewardserve playground ARGUMENTS` on a free port.

    Attributes:
        url: Where its page is.
        http: Asks it as the page does.
    """

    def __init__(self, triton_url: str, *arguments: object) -> None:
        command = [SCRIPT, "playground", "--url", triton_url, "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.lines = [self.process.stdout.readline() for _ in range(2)]
        assert self.lines[1], self.process.communicate()
        self.url = self.lines[1].split()[-1]
        self.http = httpx.Client(base_url=self.url, headers={"Origin": self.url}, timeout=60)

    def score(self, body: Any) -> Any:
        """The answer, which is no error."""
        response = self.http.post("/api/score", json=body)
        assert response.status_code == 200, response.text
        return response.json()["results"]

    def stop(self) -> str:
        """Ends it as Ctrl-C does. Gives what it wrote to standard error."""
        self.http.close()
        self.process.terminate()
        return self.process.communicate(timeout=30)[1]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of `reward`, with values and a chat template, and `labels`, which has several."""
    repository = tmp_path_factory.mktemp("playground") / "repository"
    checkpoint = save_huggingface(tmp_path_factory.mktemp("checkpoint"))
    save_chat_template(checkpoint, LLAMA3)
    decode_as_bytes(checkpoint / "tokenizer.json")
    export(checkpoint, ExportOptions(repository=repository, max_length=256, max_request_tokens=512, values=True))
    torch.manual_seed(1)
    several = LlamaForSequenceClassification(llama_config(num_labels=2, id2label=LABELS))
    torch.nn.init.normal_(several.score.weight)
    checkpoint = save_huggingface(tmp_path_factory.mktemp("labels"), several)
    export(checkpoint, ExportOptions(repository=repository, name="labels", max_length=256, max_request_tokens=512))
    with TritonProcess(ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)) as server:
        server.wait_until_ready()
        yield server.grpc_url


def decode_as_bytes(tokenizer: Path) -> None:
    """Gives the tokenizer the decoder that belongs to its pre-tokenizer, as published ones have it."""
    content = json.loads(tokenizer.read_text())
    tokenizer.write_text(json.dumps({**content, "decoder": {**content["pre_tokenizer"], "type": "ByteLevel"}}))


@pytest.fixture
def own_client(served: str) -> Iterator[RewardClient]:
    with RewardClient(served) as client:
        yield client


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "three pairs.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in PAIRS))
    return path


@pytest.fixture(scope="session")
def playground(served: str, pairs_file: Path) -> Iterator[Playground]:
    playground = Playground(served, "--pairs", pairs_file)
    yield playground
    assert playground.stop() == ""


@pytest.fixture(scope="session")
def with_labels(served: str) -> Iterator[Playground]:
    playground = Playground(served, "--model", "labels")
    yield playground
    assert playground.stop() == ""
