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
import triton_python_backend_utils as pb_utils

# The version's own copy of rewardserve comes before one that the server's Python may have: that may be another version.
sys.path.insert(0, str(Path(__file__).parent))

from rewardserve._answers import Rewards
from rewardserve._errors import InputError, RequestRejectedError, ServerError
from rewardserve._packing import PackedRequest

from .scorer import TextScorer

__all__ = ["TritonPythonModel"]

CALLS = 64
"""Requests that are scored at a time. The others wait."""


class TritonPythonModel:
    """Triton makes one, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the tokenizer. A server that lacks something starts nevertheless: it is told with every request."""
        self.model = json.loads(args["model_config"])["parameters"]["reward_model"]["string_value"]
        self.version = args["model_version"]
        self.calls = ThreadPoolExecutor(CALLS, thread_name_prefix="call")
        self.problem = ""
        try:
            self.scorer = TextScorer(Path(__file__).parent, self._infer)
        except ImportError as error:
            self.problem = f"the server can't tokenize ({error}). Remedy: pip install tokenizers, in the server's Python"
        except Exception as error:  # any: nothing about texts may keep the reward model from being served
            self.problem = str(error)
        if self.problem:
            pb_utils.Logger.log_warn(f"{args['model_name']} answers with errors only: {self.problem}")

    def execute(self, requests: Sequence[Any]) -> None:
        """Has each request answered by a thread."""
        for request in requests:
            self.calls.submit(self._answer, request)

    def finalize(self) -> None:
        """Waits for the calls under way."""
        self.calls.shutdown()

    def _answer(self, request: Any) -> None:
        try:
            response = self._response(request)
        except Exception as error:  # whatever it is, the caller must hear of it: nobody else answers
            response = _error(str(error) or repr(error), _code(error))
        request.get_response_sender().send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _response(self, request: Any) -> Any:
        if self.problem:
            return _error(self.problem, pb_utils.TritonError.UNAVAILABLE)
        texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("rewards", self.scorer.score(texts))])

    def _infer(self, packed: PackedRequest) -> dict[str, bytes]:
        request = pb_utils.InferenceRequest(
            model_name=self.model,
            model_version=int(self.version),
            requested_output_names=list(Rewards.outputs),
            inputs=[
                pb_utils.Tensor("input_ids", packed.input_ids[np.newaxis]),
                pb_utils.Tensor("segments", packed.segments[np.newaxis]),
            ],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
        )
        response = request.exec()
        if response.has_error():
            raise _failure(response.error())
        return {tensor.name(): tensor.as_numpy().tobytes() for tensor in response.output_tensors()}


def _failure(error: Any) -> ServerError:
    kind = RequestRejectedError if error.code() == pb_utils.TritonError.INVALID_ARG else ServerError
    return kind(error.message())


def _code(error: Exception) -> int:
    code: int = pb_utils.TritonError.INVALID_ARG if isinstance(error, InputError) else pb_utils.TritonError.INTERNAL
    return code


def _error(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
