"""A reward model in memory: backbone, value head, normalisation."""

from __future__ import annotations

from typing import Literal, cast

from rewardserve._contract import Normalization
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from rewardserve_export.checkpoint._adapter import load_merged
from rewardserve_export.checkpoint._arithmetic import Float32Arithmetic
from rewardserve_export.checkpoint._backbone import load_backbone, load_pretrained
from rewardserve_export.checkpoint._checkpoint import Checkpoint
from rewardserve_export.checkpoint._encoder_head import encoder_head
from rewardserve_export.checkpoint._value_head import check_finite, load_head

__all__ = ["RewardHead", "RewardModel", "load_reward_model"]


class RewardHead(nn.Module):
    """Hidden states [..., H] -> normalised rewards [...], or [..., K] for K > 1 outputs, in float32.

    Args:
        linear: H -> K.
        normalization: `(reward - mean) / std`, or None; for one output only.

    Raises:
        ValueError: Several outputs with a normalisation.
    """

    def __init__(self, linear: nn.Linear, normalization: Normalization | None) -> None:
        super().__init__()
        if normalization is not None and linear.out_features > 1:
            raise ValueError(f"a normalisation is for one output, and the head has {linear.out_features}")
        self.linear = linear
        self.normalization = normalization

    def forward(self, hidden_states: Tensor) -> Tensor:
        """See the class."""
        rewards: Tensor = self.linear(hidden_states.float())
        if self.linear.out_features == 1:
            rewards = rewards.squeeze(-1)
        if self.normalization is not None:
            rewards = (rewards - self.normalization.mean) / self.normalization.std
        return rewards


class RewardModel(nn.Module):
    """Scores one sequence: the reference that every export is compared with.

    Args:
        backbone: A transformers model without a language-model head.
        head: On the last hidden state of the scored token.
        scored_token: Which one that is.
    """

    def __init__(
        self, backbone: PreTrainedModel, head: nn.Module, scored_token: Literal["first", "last"] = "last"
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.scored_token = scored_token

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids [1, T] -> reward [1] or [1, K]: the last token is the last one, whatever its id (pad, EOS)."""
        hidden_states = self.backbone(input_ids=input_ids).last_hidden_state
        return cast(Tensor, self.head(hidden_states[:, 0 if self.scored_token == "first" else -1]))


def load_reward_model(checkpoint: Checkpoint, *, mapped: bool = False) -> RewardModel:
    """Loads a checkpoint's weights in float32, for inference; an adapter is merged into its base.

    Args:
        checkpoint: To load.
        mapped: Whether weights stay in the checkpoint's files, in the data types they are stored in, as far as they
            can: those of an adapter's base, and those that transformers converts, are loaded in float32 all the same.
            Such a model costs little memory, whatever its size, and must be run in `Float32Arithmetic`.

    Raises:
        CheckpointError: Weights are missing, surplus, or of the wrong shape.
        MissingExtraError: The checkpoint is an adapter, and peft isn't installed.
        UnsupportedModelError: transformers doesn't know the architecture.
    """
    files, contents, location = checkpoint.files, checkpoint.contents, checkpoint.head
    if contents.encoder:
        return _load_encoder(checkpoint, mapped).eval().requires_grad_(False)
    if files.adapter:
        merged = load_merged(files, contents)
        backbone = cast(PreTrainedModel, merged.base_model)
    else:
        backbone = load_backbone(files, contents.backbone_prefix, location.keys, mapped=mapped)
    linear = load_head(location, len(checkpoint.labels or ("reward",)), _width(backbone))
    if files.adapter and location.adapted:
        linear = cast(nn.Linear, merged.get_submodule(location.adapted))
        check_finite(linear.weight, f"{location} with the adapter's LoRA")
    model = RewardModel(backbone, RewardHead(linear, checkpoint.normalization))
    return model.eval().requires_grad_(False)


def _load_encoder(checkpoint: Checkpoint, mapped: bool) -> RewardModel:
    location = checkpoint.head
    model = load_pretrained(
        AutoModelForSequenceClassification, checkpoint.files, head_keys=location.keys, whole=True, mapped=mapped
    ).eval()
    with Float32Arithmetic():
        head = encoder_head(model)
    for name, parameter in head.named_parameters():
        check_finite(parameter, f"{name} of the classifier ({location})")
    return RewardModel(cast(PreTrainedModel, model.base_model), head, "first")


def _width(backbone: PreTrainedModel) -> int:
    """H: of the last hidden state, which OPT may project to another width."""
    config = backbone.config.get_text_config()
    width: int = getattr(config, "word_embed_proj_dim", config.hidden_size)
    return width
