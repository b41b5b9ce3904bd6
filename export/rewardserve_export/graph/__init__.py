"""From a reward model to a packed graph."""

from rewardserve_export.graph._attention import EAGER_ATTENTION
from rewardserve_export.graph._layout import GraphLimits
from rewardserve_export.graph._model import PackedRewardModel, attention
from rewardserve_export.graph._onnx import Attention, trace_onnx, write_onnx
from rewardserve_export.graph._precision import HALF_PRECISIONS, Precision, in_precision
from rewardserve_export.graph._probe import Traits, probe

__all__ = [
    "EAGER_ATTENTION",
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
]
