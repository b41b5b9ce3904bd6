"""Texts in, rewards out: tokenizes, packs, and asks the reward model's own version on the same server.

Copied into the model repository by the export. Each request is scored in a thread, and answered by it: the next request
doesn't wait for this one, and the reward model merges what they ask it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

# The version's own copy of rewardserve comes before one that the server's Python has: that may be another generation.
sys.path.insert(0, str(Path(__file__).parent))

from rewardserve import _wire
from rewardserve._errors import InputError, RewardServeError, ServerError
from rewardserve._packing import PackedRequest

from .scorer import OUTPUTS, TextScorer

__all__ = ["TritonPythonModel"]

CALLS = 64
"""Requests that are scored at a time. The others wait."""

UNAVAILABLE = ("not ready", "Exceeds maximum queue size", "Request timeout expired")
"""Parts of messages whose code Triton loses between its models."""


class TritonPythonModel:
    """Triton makes one, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the tokenizer; without one the server starts nevertheless, and each caller is told why."""
        self.model = json.loads(args["model_config"])["parameters"]["reward_model"]["string_value"]
        self.version = int(args["model_version"])
        self.calls = ThreadPoolExecutor(CALLS, thread_name_prefix="call")
        self.scorer: TextScorer | None = None
        try:
            self.scorer = TextScorer(Path(__file__).parent, self._infer)
        except Exception as error:  # any: nothing about texts may keep the reward model from being served
            remedy = (
                ". Remedy: pip install tokenizers, in the server's Python" if isinstance(error, ImportError) else ""
            )
            self.problem = f"this server can't score texts: {error}{remedy}"
            pb_utils.Logger.log_warn(f"{args['model_name']}: {self.problem}")

    def execute(self, requests: Sequence[Any]) -> None:
        """Has each request answered by a thread."""
        for request in requests:
            self.calls.submit(self._answer, request)

    def finalize(self) -> None:
        """Waits for the calls under way."""
        self.calls.shutdown()

    def _answer(self, request: Any) -> None:
        try:
            response = pb_utils.InferenceResponse([pb_utils.Tensor(_wire.REWARDS, self._rewards(request))])
        except Exception as error:  # any: who asks must get an answer, and nobody else gives one
            response = pb_utils.InferenceResponse(error=_triton_error(error))
        request.get_response_sender().send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _rewards(self, request: Any) -> npt.NDArray[np.float32]:
        if self.scorer is None:
            raise _CodedError(self.problem, pb_utils.TritonError.UNAVAILABLE)
        return self.scorer.score(pb_utils.get_input_tensor_by_name(request, "text").as_numpy())

    def _infer(self, packed: PackedRequest) -> dict[str, bytes]:
        request = pb_utils.InferenceRequest(
            model_name=self.model,
            model_version=self.version,
            requested_output_names=list(OUTPUTS),
            inputs=[
                pb_utils.Tensor(_wire.INPUT_IDS, packed.input_ids[np.newaxis]),
                pb_utils.Tensor(_wire.SEGMENTS, packed.segments[np.newaxis]),
            ],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
        )
        response = request.exec()
        if response.has_error():
            raise _failure(f"model {self.model!r} (version {self.version})", response.error())
        return {tensor.name(): tensor.as_numpy().tobytes() for tensor in response.output_tensors()}


class _CodedError(ServerError):
    """Carries the code that Triton answers with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _failure(model: str, error: Any) -> _CodedError:
    message = error.message().rpartition("Error when running inference: ")[2].rstrip(".")
    code = pb_utils.TritonError.UNAVAILABLE if any(part in message for part in UNAVAILABLE) else error.code()
    return _CodedError(f"{model}: {message}. Remedy: send the texts again; or see the server's log", code)


def _triton_error(error: Exception) -> Any:
    code = pb_utils.TritonError.INVALID_ARG if isinstance(error, InputError) else pb_utils.TritonError.INTERNAL
    message = str(error) if isinstance(error, RewardServeError) else f"{error!r}. Remedy: see the server's log"
    return pb_utils.TritonError(message, error.code if isinstance(error, _CodedError) else code)
