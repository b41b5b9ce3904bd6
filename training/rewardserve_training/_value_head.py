"""The value head in float32, on the last token, whatever the backbone computes in."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

__all__ = ["Float32Head", "scoring_the_last_token"]


class Float32Head(nn.Linear):
    """Hidden states [B, H] in any data type -> rewards [B, 1] in float32, outside autocast.

    Args:
        head: The layer whose weight it takes over; it has no bias.
    """

    def __init__(self, head: nn.Linear) -> None:
        super().__init__(head.in_features, head.out_features, bias=False, device="meta")
        self.weight = nn.Parameter(head.weight.detach().float())

    def forward(self, input: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(input.device.type, enabled=False):
            return linear(input.float(), self.weight.float())


class _LastTokenReward(PreTrainedModel if TYPE_CHECKING else object):  # type: ignore[misc]
    """Pools the last token that the attention mask leaves; transformers' own classes the last that isn't padding's id.

    The difference is a sequence that ends with the id used for padding, mostly EOS: see DESIGN §6.
    """

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> SequenceClassifierOutputWithPast:
        """Right-padded ids [B, T] and their mask -> rewards [B, 1]; all in float32 where the model is in eval mode."""
        full_precision = torch.autocast(input_ids.device.type, enabled=False)
        with nullcontext() if self.training else full_precision:
            output = self.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        last = attention_mask.sum(1) - 1
        hidden_states = output.last_hidden_state[torch.arange(len(last), device=last.device), last]
        # The trainer's type: it takes the rewards from `logits`.
        return SequenceClassifierOutputWithPast(logits=self.score(hidden_states))


def scoring_the_last_token(model: PreTrainedModel) -> PreTrainedModel:
    """Gives a sequence-classification model this module's forward pass; it keeps its class's name, which is saved."""
    original = type(model)
    model.__class__ = type(original.__name__, (_LastTokenReward, original), {"__module__": original.__module__})
    return model
