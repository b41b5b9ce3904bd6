"""A packed reward model on Triton's Python backend.

Copied into the model repository by the export: needs numpy and what runs the graph, not rewardserve. Triton hands over
the requests that it merged; each is checked by itself, the good ones are cut and merged into runs, and every request
gets its own answer.
"""

from __future__ import annotations

import importlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from .metrics import Metrics
from .runs import Piece, cut_request, plan_runs
from .wire import FINGERPRINTS, INPUT_IDS, REWARDS, SEGMENTS, VALUES, graph_inputs, problem_with

__all__ = ["TritonPythonModel"]

Arrays = dict[str, npt.NDArray[Any]]

CPU_RUN_TOKENS = 2048
"""A CPU's caches hold the activations of so many tokens; a GPU is the faster the more there are."""


class TritonPythonModel:
    """Triton makes one per instance, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the graph."""
        directory = Path(args["model_repository"]) / args["model_version"]
        contract = json.loads((directory / "contract.json").read_text())
        self.limits = {
            "vocab_size": contract["vocab_size"],
            "max_length": contract["tokenization"]["max_length"],
            "max_request_tokens": contract["max_request_tokens"],
            "bidirectional": contract["bidirectional"],
            "padded": contract["padded"],
        }
        self.outputs = [REWARDS, FINGERPRINTS, *([VALUES] if contract["values"] else [])]
        on_gpu = args["model_instance_kind"] == "GPU"
        self.engine = _engine(
            directory,
            device=f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu",
            threads=_threads(json.loads(args["model_config"])),
        )
        max_tokens: int = contract["max_batch_tokens"]
        self.run_tokens = max_tokens if on_gpu else min(max_tokens, CPU_RUN_TOKENS)
        self.metrics = Metrics(args, directory, padded=contract["padded"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers each request, with rewards or with an error of its own."""
        responses: list[Any] = [None] * len(requests)
        pieces: list[Piece] = []
        for position, request in enumerate(requests):
            input_ids, segments = (_read(request, name) for name in (INPUT_IDS, SEGMENTS))
            problem = _batch_problem(input_ids, segments) or problem_with(input_ids[0], segments[0], **self.limits)
            if problem is None:
                pieces.extend(cut_request(position, input_ids[0], segments[0]))
            else:
                self.metrics.count_invalid(segments)
                responses[position] = _error(f"malformed request: {problem}", pb_utils.TritonError.INVALID_ARG)
        answers: dict[int, list[tuple[Piece, Arrays]]] = {}
        for run in plan_runs(pieces, self.run_tokens, padded=self.limits["padded"]):
            try:
                for piece, arrays in zip(run, self._run(run), strict=True):
                    answers.setdefault(piece.request, []).append((piece, arrays))
            except Exception as error:  # the libraries' classes; memory is the usual cause, and other runs may fit
                tokens = sum(piece.input_ids.size for piece in run)
                message = f"a run of {tokens} tokens failed ({error}). Remedy: a smaller --max-batch-tokens"
                for piece in run:
                    responses[piece.request] = _error(message, pb_utils.TritonError.INTERNAL)
        for position, parts in answers.items():
            if responses[position] is None:
                responses[position] = self._response(parts)
        return responses

    def finalize(self) -> None:
        """Ends what Triton doesn't."""
        self.metrics.close()

    def _run(self, run: Sequence[Piece]) -> list[Arrays]:
        """Each piece is a request of its own to the graph."""
        feed = graph_inputs([(piece.input_ids, piece.segments) for piece in run])
        results = self.engine.run(feed)
        self.metrics.count_run(feed[SEGMENTS], results[REWARDS])
        segment_ends = np.cumsum([len(piece.segments) for piece in run])[:-1]
        token_ends = np.cumsum([piece.input_ids.size for piece in run])[:-1]
        parts = {name: np.split(results[name], token_ends if name == VALUES else segment_ends) for name in self.outputs}
        return [{name: parts[name][index] for name in self.outputs} for index in range(len(run))]

    def _response(self, parts: list[tuple[Piece, Arrays]]) -> Any:
        ordered = [arrays for _, arrays in sorted(parts, key=lambda part: part[0].first_segment)]
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.concatenate([part[name] for part in ordered])[None]) for name in self.outputs]
        )


# Which of them lies beside this file is decided by the export.
_ENGINES = {"model.onnx": ("onnx_engine", "OnnxEngine"), "model.pt": ("torch_engine", "TorchEngine")}


def _engine(directory: Path, *, device: str, threads: int) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        module, name = _ENGINES[next(graph for graph in _ENGINES if (directory / graph).exists())]
        make = getattr(importlib.import_module(f".{module}", __package__), name)
        engine = make(directory, device=device, threads=threads)
    for warning in caught:
        pb_utils.Logger.log_warn(str(warning.message))
    return engine


def _threads(config: dict[str, Any]) -> int:
    """The parameter `threads`, else an equal share of this machine's cores for every instance."""
    asked = config["parameters"].get("threads")
    if asked is not None:
        return int(asked["string_value"])
    instances = sum(int(group["count"]) for group in config["instance_group"])
    return max(1, len(os.sched_getaffinity(0)) // max(1, instances))


def _read(request: Any, name: str) -> npt.NDArray[np.int32]:
    tensor: npt.NDArray[np.int32] = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return tensor


def _batch_problem(input_ids: npt.NDArray[np.int32], segments: npt.NDArray[np.int32]) -> str | None:
    batch = {input_ids.shape[0], segments.shape[0]}
    return None if batch == {1} else f"has batch dimensions {sorted(batch)}, must be 1: pack the sequences instead"


def _error(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
