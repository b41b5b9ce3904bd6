"""What processes of `limited` have loaded before they begin."""

from __future__ import annotations

import fastapi.testclient
import peft
import rewardserve_evaluation
import rewardserve_export
import rewardserve_server.gateway._app
import rewardserve_server.playground._app
import transformers
from transformers import LlamaForSequenceClassification

__all__ = [
    "LlamaForSequenceClassification",
    "fastapi",
    "peft",
    "rewardserve_evaluation",
    "rewardserve_export",
    "rewardserve_server",
    "transformers",
]
