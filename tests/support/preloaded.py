"""What processes of `limited` have loaded before they begin."""

from __future__ import annotations

import peft
import rewardserve_evaluation
import rewardserve_export
import transformers
from transformers import LlamaForSequenceClassification

__all__ = ["LlamaForSequenceClassification", "peft", "rewardserve_evaluation", "rewardserve_export", "transformers"]
