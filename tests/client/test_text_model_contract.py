"""The model that takes texts obeys its own version's contract, and its server may lack what the client needs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from google.protobuf import text_format
from rewardserve import RewardClient, TruncationWarning
from rewardserve_export import ExportOptions, ExportSummary, export
from rewardserve_server import GRPC_ADMIN_HEADER, ServeOptions, TritonProcess
from support.calls import packed_request
from support.checkpoints import llama_config, save_huggingface
from support.text_calls import post_texts, rewards_in, text_request
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.grpc.service_pb2 import RepositoryModelLoadRequest, RepositoryModelUnloadRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

ADMIN_KEY = "k" * 24
MAX_LENGTH = 32
TEXTS = ["a good answer", "the reward of a good answer is higher " * 9, "a bad one is lower " * 5 + "\n\n", "</s>"]

LIAR = """
import itertools
import numpy as np
import triton_python_backend_utils as pb
from .wire import fingerprints, identified

class TritonPythonModel:
    def initialize(self, args):
        self.calls = itertools.count()

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        ids, segments = (pb.get_input_tensor_by_name(request, name).as_numpy()[0] for name in ("input_ids", "segments"))
        rewards = np.full((1, len(segments)), {reward}, dtype=np.float32)
        true = identified(fingerprints(ids, segments), {identity})[None]
        told = true if next(self.calls) in {honest} else np.zeros_like(true)
        return pb.InferenceResponse([pb.Tensor("rewards", rewards), pb.Tensor("fingerprints", told)])
"""
LIARS = {
    "wrong": {"reward": "1.0", "honest": "()"},
    "late": {"reward": "1.0", "honest": "(1,)"},
    "overflown": {"reward": "np.nan", "honest": "(0,)"},
}


@contextmanager
def config_of(model: Path) -> Iterator[Any]:
    """A model's configuration, to change."""
    file = model / "config.pbtxt"
    config = text_format.Parse(file.read_text(), ModelConfig())
    yield config
    file.write_text(text_format.MessageToString(config))


def add_copy(repository: Path, name: str) -> Path:
    """The model `reward` under another name, with the one that scores texts with it."""
    for suffix in ("", "_text"):
        shutil.copytree(repository / f"reward{suffix}", repository / f"{name}{suffix}")
        with config_of(repository / f"{name}{suffix}") as config:
            config.name = f"{name}{suffix}"
    with config_of(repository / f"{name}_text") as config:
        config.parameters["reward_model"].string_value = name
    return repository / name


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of other weights each."""
    directory = tmp_path_factory.mktemp("versions")
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = LlamaForSequenceClassification(llama_config())
        torch.nn.init.normal_(model.score.weight)
        found.append(save_huggingface(directory / str(seed), model, bos=True))
    return found


@pytest.fixture(scope="module")
def own_server(
    checkpoints: list[Path], exported: ExportSummary, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonProcess]:
    """Two versions of `cut` at a time, reward models that can't be trusted, and one that refuses."""
    copied = tmp_path_factory.mktemp("own") / "repository"
    shutil.copytree(repository, copied)
    for name, settings in LIARS.items():
        source = LIAR.format(identity=exported.contract.identity, **settings)
        (add_copy(copied, name) / "1" / "model.py").write_text(source)
    with config_of(add_copy(copied, "crowded")) as config:
        config.dynamic_batching.default_queue_policy.max_queue_size = 1
    limits = {"max_length": MAX_LENGTH, "max_request_tokens": 64}
    export(checkpoints[0], ExportOptions(repository=copied, name="cut", truncation="left", **limits))
    export(
        checkpoints[1],
        ExportOptions(repository=copied, name="cut", truncation="right", tokenization="openrlhf", **limits),
    )
    for name in ("cut", "cut_text"):
        with config_of(copied / name) as config:
            config.version_policy.all.SetInParent()
    control = ("--model-control-mode=explicit", "--load-model=*")
    options = ServeOptions(
        repository=copied, grpc_port=0, http_port=0, metrics_port=0, extra_args=control, admin_key=ADMIN_KEY
    )
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture
def own_stub(own_server: TritonProcess) -> Iterator[Any]:
    with grpc.insecure_channel(own_server.grpc_url) as channel:
        yield GRPCInferenceServiceStub(channel)


def test_the_latest_version_cuts_as_the_client_does(own_server: TritonProcess) -> None:
    with RewardClient(own_server.grpc_url, model="cut") as client:
        assert client.version == "2"
        with pytest.warns(TruncationWarning, match="items 1, 2"):
            expected = client.score(TEXTS)
    _, body = post_texts(own_server.http_url, TEXTS, "cut_text")
    assert body["model_version"] == "2"
    assert np.array_equal(np.array(body["outputs"][0]["data"], dtype=np.float32), expected)


def test_an_earlier_version_asks_the_model_of_its_own_number(own_stub: Any, checkpoints: list[Path]) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoints[0], truncation_side="left")
    ids = tokenizer(TEXTS, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    rewards = {}
    for version in "12":
        rewards[version] = rewards_in(own_stub.ModelInfer(text_request(TEXTS, "cut_text", version), timeout=60))
    for sequence, reward in zip(ids, rewards["1"], strict=True):
        request = packed_request(sequence, [[len(sequence), 0]])
        request.model_name, request.model_version = "cut", "1"
        content = own_stub.ModelInfer(request, timeout=60).raw_output_contents[0]
        assert np.frombuffer(content, dtype=np.float32)[0] == reward
    assert (rewards["1"] != rewards["2"]).all()


def test_a_doubled_bos(own_stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        own_stub.ModelInfer(text_request(["a", "<s>b"], "cut_text", "1"), timeout=60)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details().startswith("item 1: begins with '<s>' twice")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("wrong", "item 0 can't be trusted: it was computed from other tokens"),
        ("overflown", "item 0 can't be trusted: it is NaN"),
    ],
)
def test_a_reward_that_cant_be_trusted_is_an_error(own_server: TritonProcess, model: str, message: str) -> None:
    status, body = post_texts(own_server.http_url, ["a good answer", "a bad one"], f"{model}_text")
    assert status == 500
    assert message in body["error"]


def test_an_answer_about_other_tokens_is_asked_for_again(own_server: TritonProcess) -> None:
    status, body = post_texts(own_server.http_url, ["a good answer", "a bad one"], "late_text")
    assert status == 200
    assert body["outputs"][0]["data"] == [1.0, 1.0]


def test_a_full_queue(own_server: TritonProcess) -> None:
    status, body = post_texts(
        own_server.http_url, [f"{number} good answers " * 50 for number in range(300)], "crowded_text"
    )
    assert status == 503
    assert "Exceeds maximum queue size" in body["error"]


def test_a_reward_model_that_isnt_loaded(own_server: TritonProcess, own_stub: Any) -> None:
    admin = [(GRPC_ADMIN_HEADER, ADMIN_KEY)]
    own_stub.RepositoryModelUnload(RepositoryModelUnloadRequest(model_name="reward"), timeout=60, metadata=admin)
    status, body = post_texts(own_server.http_url, ["a"])
    assert status == 503
    assert re.match(r"model 'reward' \(version 1\): .* is not ready\. Remedy: send the texts again", body["error"])
    own_stub.RepositoryModelLoad(RepositoryModelLoadRequest(model_name="reward"), timeout=60, metadata=admin)
    assert post_texts(own_server.http_url, ["a"])[0] == 200


@pytest.fixture
def serve_without(
    exported: ExportSummary, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TritonProcess]:
    """A server whose Python lacks some packages."""

    def serve(*packages: str) -> TritonProcess:
        for package in packages:
            (tmp_path / f"{package}.py").write_text(f"raise ImportError('no {package} here')")
        monkeypatch.chdir(tmp_path)  # the stub ignores PYTHONPATH, and looks for modules here first
        return TritonProcess(ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0))

    return serve


def test_a_server_without_rewardserve(serve_without: Callable[..., TritonProcess], client: RewardClient) -> None:
    """As NVIDIA's images, with tokenizers installed."""
    with serve_without("rewardserve", "tritonclient", "grpc", "google", "jinja2", "typer", "torch") as process:
        process.wait_until_ready()
        _, body = post_texts(process.http_url, TEXTS)
        assert np.array_equal(np.array(body["outputs"][0]["data"], dtype=np.float32), client.score(TEXTS))


def test_a_server_without_tokenizers(serve_without: Callable[..., TritonProcess]) -> None:
    with serve_without("tokenizers") as process:
        process.wait_until_ready()
        for _ in range(2):
            status, body = post_texts(process.http_url, TEXTS)
            assert status == 503
            assert "no tokenizers here. Remedy: pip install tokenizers, in the server's Python" in body["error"]
        with RewardClient(process.grpc_url) as client:
            assert client.score(TEXTS).shape == (len(TEXTS),)
