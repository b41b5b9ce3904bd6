"""Servers that a stranger made to hurt their clients: what each says in place of a good one, and what it gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from rewardserve import RewardClient
from rewardserve._contract import contract_parameter
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from support.contracts import make_contract
from support.hostile_repositories import forged

__all__ = ["CASES", "Case", "served"]

Call = Callable[[RewardClient], object]


@dataclass(frozen=True)
class Case:
    """A hostile server.

    Attributes:
        gets: The error's class.
        message: A part of the error's message.
        call: What the client's user does.
        tokenization: Fields of its contract.
        contract: Its contract as JSON, in place of one with these fields.
        tokenizer: What it hands out as tokenizer.json.
        versions: Of the model, as it says.
        instances: Of the model, as it says.
    """

    gets: str
    message: str
    call: Call = lambda client: client.score(["a text"])
    tokenization: dict[str, Any] | None = None
    contract: str | None = None
    tokenizer: bytes = b"{}"
    versions: tuple[str, ...] = ("1",)
    instances: int = 1


class _Servicer(GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, case: Case) -> None:
        self._case = case
        sha256 = hashlib.sha256(case.tokenizer).hexdigest()
        fields = {"tokenizer_sha256": sha256, **(case.tokenization or {})}
        self._contract = case.contract or forged(make_contract(max_length=500).to_json(), **fields)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ModelMetadataResponse(name=request.name, versions=self._case.versions)

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        response = pb.ModelConfigResponse()
        response.config.parameters[contract_parameter(1)].string_value = self._contract
        response.config.instance_group.add(count=self._case.instances)
        return response

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        if not request.model_name.endswith("_tokenizer"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a good server would score by now")
        content = self._case.tokenizer
        return pb.ModelInferResponse(raw_output_contents=[len(content).to_bytes(4, "little") + content])


@contextmanager
def served(case: Case) -> Iterator[str]:
    """The address of such a server. It is gRPC's own, not Triton: a Triton can't be made to say all this."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    add_GRPCInferenceServiceServicer_to_server(_Servicer(case), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def _chat(client: RewardClient) -> object:
    return client.score_chat([[{"role": "user", "content": "a"}]])


def _tokens(client: RewardClient) -> object:
    return client.score_tokens([[1, 2, 3]] * 100)


def _tokenizer(**parts: Any) -> bytes:
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None}
    document |= {"pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model}
    return json.dumps({**document, **parts}).encode()


_TWICE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
_REGEX = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
_WRONG = "ContractError"

CASES: dict[str, Case] = {
    "versions that are no numbers": Case("ModelNotFoundError", "has no version", versions=("../..", "x", "²")),
    "contract nested 100,000 deep": Case(_WRONG, "maximum recursion depth", contract="[" * 100_000),
    "contract whose tokenizer is ../../../.ssh/x": Case(
        _WRONG, "no sha256", tokenization={"tokenizer_sha256": "../../../.ssh/x"}
    ),
    "contract whose tokenizer has a null byte": Case(_WRONG, "no sha256", tokenization={"tokenizer_sha256": "\0"}),
    "contract with a lone surrogate": Case(_WRONG, "surrogates not allowed", tokenization={"bos_token": "\ud800"}),
    "contract with a max_length of 2^70": Case(_WRONG, "must be from 0 to", tokenization={"max_length": 2**70}),
    "contract with an eos_suffix that is a list": Case(_WRONG, "must be str", tokenization={"eos_suffix": ["a"]}),
    "contract with a chat template of 10^10 characters": Case(
        "ChatTemplateError",
        "takes too many steps, or makes too large a text",
        _chat,
        tokenization={"chat_template": "{{ 'a' * 10**10 }}"},
    ),
    "contract with a chat template that takes the name of its messages": Case(
        "ChatError",
        "multiple values",
        _chat,
        tokenization={"chat_template": "a", "template_tokens": {"messages": "a"}},
    ),
    "2^31 - 1 instances": Case(
        "RequestRejectedError", "a good server would score by now", _tokens, instances=2**31 - 1
    ),
    "-5 instances": Case("RequestRejectedError", "a good server would score by now", _tokens, instances=-5),
    "tokenizer.json of another sha256": Case(
        "TokenizerMismatchError", "handed out a tokenizer", tokenization={"tokenizer_sha256": "0" * 64}
    ),
    "tokenizer.json that doubles a text 40 times": Case(
        _WRONG,
        "characters of one",
        tokenizer=_tokenizer(normalizer={"type": "Sequence", "normalizers": [_TWICE] * 40}),
    ),
    "tokenizer.json nested 100,000 deep": Case(_WRONG, "maximum recursion depth", tokenizer=b"[" * 100_000),
    "tokenizer.json of 65 MiB": Case(_WRONG, "more than 67,108,864", tokenizer=b" " * (65 << 20)),
    "tokenizer.json that makes the library panic": Case(
        _WRONG, "panicked", tokenizer=_tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})
    ),
    "tokenizer.json with a catastrophic expression": Case(
        _WRONG,
        "retry-limit-in-match over",
        lambda client: client.score(["a" * 40 + "!"]),
        tokenizer=_tokenizer(pre_tokenizer=_REGEX),
    ),
}
