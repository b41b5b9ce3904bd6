"""Comparing scorers: transformers, packed PyTorch, exported graphs, servers."""

from rewardserve_export.parity._check import FP32_TOLERANCE, allowed_difference, check_parity, parity_sequences
from rewardserve_export.parity._compositions import each_its_own_request, one_batch, prefixes_shared, shuffled
from rewardserve_export.parity._graphs import Graph, exported_graph, onnx_runner, rewards_of, torchscript_runner
from rewardserve_export.parity._scorers import (
    Composition,
    Difference,
    Rewards,
    Runner,
    Scorer,
    Tokens,
    compare,
    difference,
    eager_runner,
    packed_scorer,
    reduced_scorer,
    transformers_scorer,
)

__all__ = [
    "FP32_TOLERANCE",
    "Composition",
    "Difference",
    "Graph",
    "Rewards",
    "Runner",
    "Scorer",
    "Tokens",
    "allowed_difference",
    "check_parity",
    "compare",
    "difference",
    "each_its_own_request",
    "eager_runner",
    "exported_graph",
    "one_batch",
    "onnx_runner",
    "packed_scorer",
    "parity_sequences",
    "prefixes_shared",
    "reduced_scorer",
    "rewards_of",
    "shuffled",
    "torchscript_runner",
    "transformers_scorer",
]
