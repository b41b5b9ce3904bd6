"""A Llama with random weights, scored by our graph in runs of many tokens, and by transformers in padded batches."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks._setup import BenchmarkError
from benchmarks._workloads import STANDARD, Lengths, Request, Workload

if TYPE_CHECKING:
    from rewardserve_export.checkpoint import RewardModel
    from rewardserve_export.graph import Precision
    from rewardserve_export.runtime.torch_engine import TorchEngine

__all__ = [
    "LARGEST_RUN",
    "SIZES",
    "PackedScorer",
    "PaddedScorer",
    "Size",
    "engine_of",
    "padded_batches",
    "random_model",
]

Rewards = npt.NDArray[np.float32]

_BATCH = 32
"""Sequences of a padded batch."""
LARGEST_RUN = 32_768
"""Tokens: the largest `max_batch_tokens` that is measured."""
_SCALED = Lengths(sequences=64, median=600, shortest=64, longest=4096, prompt=1024, response=(128, 256))


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model, and workloads that suit it.

    Attributes:
        config: Of the LlamaModel.
        lengths: Of the workloads.
        square: Rows and columns of the matrices whose product gives the device's peak.
    """

    config: dict[str, Any]
    lengths: Lengths = _SCALED
    square: int = 8192


def _llama(vocabulary: int, hidden: int, mlp: int, layers: int, heads: int, kv_heads: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 8192,
    }


SIZES = {
    # Shows that everything runs; its figures say nothing about speed.
    "tiny": Size(config=_llama(1000, 64, 176, 2, 4, 2), square=128, lengths=STANDARD.shrunk(8)),
    "1b": Size(config=_llama(128_256, 2048, 8192, 16, 32, 8)),
    "8b": Size(config=_llama(128_256, 4096, 14_336, 32, 32, 8)),
}


def random_model(size: Size, precision: Precision, device: str) -> RewardModel:
    """Random weights, made in the precision on the device; the head is float32. Rewards have a spread of about 1."""
    import torch
    from rewardserve_export.checkpoint import RewardHead, RewardModel
    from rewardserve_export.graph import HALF_PRECISIONS
    from transformers import AutoModel, LlamaConfig

    torch.manual_seed(0)
    with torch.device(device):
        backbone = AutoModel.from_config(
            LlamaConfig(**size.config), dtype=HALF_PRECISIONS[precision], attn_implementation="sdpa"
        )
        linear = torch.nn.Linear(size.config["hidden_size"], 1, bias=False)
    torch.nn.init.normal_(linear.weight, std=size.config["hidden_size"] ** -0.5)
    return RewardModel(backbone, RewardHead(linear, None)).eval().requires_grad_(False)


def engine_of(model: RewardModel, precision: Precision, device: str) -> TorchEngine:
    """The model, exported, and loaded as the Python backend does.

    Args:
        model: On the CPU, where graphs are traced; in the precision already.
        precision: Of the graph.
        device: To load it on.
    """
    import torch
    from rewardserve_export.graph import GraphLimits, write_torchscript
    from rewardserve_export.runtime.torch_engine import TorchEngine

    config = model.backbone.config
    limits = GraphLimits(
        vocab_size=config.vocab_size, max_length=config.max_position_embeddings, max_request_tokens=LARGEST_RUN
    )
    with tempfile.TemporaryDirectory(prefix="rewardserve-gpu-") as name:
        write_torchscript(model, limits, precision, Path(name), operators=False)
        return TorchEngine(Path(name), device=device, threads=torch.get_num_threads())


class PackedScorer:
    """What client and Python backend do with the requests of a workload that all wait at once, in one process.

    Args:
        engine: That runs the graph.
        run_tokens: `max_batch_tokens`.
    """

    def __init__(self, engine: TorchEngine, run_tokens: int) -> None:
        self._engine = engine
        self._run_tokens = run_tokens

    def score(self, requests: Sequence[Request]) -> tuple[Rewards, int]:
        """Rewards of all sequences in order, and how many tokens were computed for them."""
        from rewardserve._packing import PackedRequest, pack
        from rewardserve_export.repository.python_backend.runs import cut_request, plan_runs

        sent: list[tuple[int, PackedRequest]] = []
        first = 0
        for request in requests:
            arrays = [np.array(sequence, dtype=np.int32) for sequence in request]
            sent.extend((first, packed) for packed in pack(arrays, self._run_tokens, share=True))
            first += len(request)
        pieces = [
            piece
            for position, (_, packed) in enumerate(sent)
            for piece in cut_request(position, packed.input_ids, packed.segments)
        ]
        answers: list[list[Rewards]] = [[] for _ in sent]
        for run in plan_runs(pieces, self._run_tokens, padded=False):
            for piece, rewards in zip(run, self._run(run), strict=True):
                answers[piece.request].append(rewards)
        result = np.empty(first, dtype=np.float32)
        for (start, packed), parts in zip(sent, answers, strict=True):
            result[start + packed.items] = np.concatenate(parts)[packed.ends]
        return result, sum(piece.input_ids.size for piece in pieces)

    def _run(self, run: Sequence[Any]) -> list[Rewards]:
        """The rewards of each piece's segments, if the fingerprints are those of its tokens."""
        from rewardserve._wire import FINGERPRINTS, REWARDS, fingerprints, graph_inputs

        outputs = self._engine.run(graph_inputs([(piece.input_ids, piece.segments) for piece in run]))
        expected = np.concatenate([fingerprints(piece.input_ids, piece.segments) for piece in run])
        if not np.array_equal(outputs[FINGERPRINTS], expected):
            raise BenchmarkError("the graph's fingerprints aren't those of the tokens it was given")
        return np.split(outputs[REWARDS], np.cumsum([len(piece.segments) for piece in run])[:-1])


class PaddedScorer:
    """Transformers' model over batches of 32 sequences, padded on the right to the longest of each.

    Args:
        model: On the device, in the precision to measure.
    """

    def __init__(self, model: RewardModel) -> None:
        self._model = model

    def score(self, batches: Sequence[Request]) -> Rewards:
        """Rewards of all sequences in order."""
        import torch

        with torch.inference_mode():
            return np.concatenate([self._score(batch).cpu().numpy() for batch in batches])

    def _score(self, batch: Request) -> Any:
        import torch

        device = self._model.backbone.device
        lengths = torch.tensor([len(sequence) for sequence in batch])
        ids = torch.zeros(len(batch), int(lengths.max()), dtype=torch.long)
        for row, sequence in zip(ids, batch, strict=True):
            row[: len(sequence)] = torch.tensor(sequence)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        hidden_states = self._model.backbone(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
        ).last_hidden_state
        return self._model.head(hidden_states[torch.arange(len(batch)), lengths - 1])


def padded_batches(workload: Workload) -> Workload:
    """The same sequences in the same order, as batches of 32."""
    sequences = [sequence for request in workload.requests for sequence in request]
    batches = tuple(sequences[start : start + _BATCH] for start in range(0, len(sequences), _BATCH))
    return Workload(name=workload.name, clients=1, requests=batches)
