"""How well a reward model agrees with preferences: accuracy, RewardBench, calibration."""

from rewardserve_evaluation._accuracy import Accuracy, ScoredPreference, measure_accuracy, wilson_interval
from rewardserve_evaluation._answers import Answer, Conversation, Message, PromptedText, join_answer
from rewardserve_evaluation._calibration import Calibration, CalibrationBin, calibrate, pair_margins
from rewardserve_evaluation._errors import EvaluationInterruptedError, PreferencesError
from rewardserve_evaluation._evaluate import evaluate
from rewardserve_evaluation._length_bias import LengthBias, Share, measure_length_bias
from rewardserve_evaluation._plot import check_plotting, plot
from rewardserve_evaluation._preferences import Preference, read_preferences
from rewardserve_evaluation._report import Benchmark, Evaluation, RewardDistribution, report
from rewardserve_evaluation._rewardbench_v1 import RewardBenchV1, rewardbench_v1
from rewardserve_evaluation._rewardbench_v2 import RewardBenchV2, TiesScore, best_of_n, rewardbench_v2, score_ties
from rewardserve_evaluation._scoring import PairScorer, Progress, Scorer

__all__ = [
    "Accuracy",
    "Answer",
    "Benchmark",
    "Calibration",
    "CalibrationBin",
    "Conversation",
    "Evaluation",
    "EvaluationInterruptedError",
    "LengthBias",
    "Message",
    "PairScorer",
    "Preference",
    "PreferencesError",
    "Progress",
    "PromptedText",
    "RewardBenchV1",
    "RewardBenchV2",
    "RewardDistribution",
    "ScoredPreference",
    "Scorer",
    "Share",
    "TiesScore",
    "best_of_n",
    "calibrate",
    "check_plotting",
    "evaluate",
    "join_answer",
    "measure_accuracy",
    "measure_length_bias",
    "pair_margins",
    "plot",
    "read_preferences",
    "report",
    "rewardbench_v1",
    "rewardbench_v2",
    "score_ties",
    "wilson_interval",
]
