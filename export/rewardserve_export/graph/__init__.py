"""From a reward model to a packed graph."""

from rewardserve_export.graph._attention import EAGER_ATTENTION
from rewardserve_export.graph._layout import BLOCK_TOKENS, GraphLimits
from rewardserve_export.graph._model import PackedRewardModel, attention
from rewardserve_export.graph._onnx import EXTERNAL_DATA, Attention, trace_onnx, write_onnx
from rewardserve_export.graph._precision import HALF_PRECISIONS, Precision, in_precision
from rewardserve_export.graph._probe import Traits, probe
from rewardserve_export.graph._torchscript import write_torchscript

__all__ = [
    "BLOCK_TOKENS",
    "EAGER_ATTENTION",
    "EXTERNAL_DATA",
    "HALF_PRECISIONS",
    "Attention",
    "GraphLimits",
    "PackedRewardModel",
    "Precision",
    "Traits",
    "attention",
    "in_precision",
    "probe",
    "trace_onnx",
    "write_onnx",
    "write_torchscript",
]
