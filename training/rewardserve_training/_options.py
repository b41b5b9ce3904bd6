"""What a training may be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from rewardserve_export import TokenizationPreset

from rewardserve_training._errors import TrainingError

__all__ = ["Precision", "SaveFormat", "TrainOptions"]

Precision = Literal["fp32", "bf16", "fp16"]
SaveFormat = Literal["hf", "openrlhf"]

_CHOICES = {"precision": Precision, "save_format": SaveFormat, "tokenization": TokenizationPreset}
_POSITIVE = (
    "max_length",
    "epochs",
    "max_steps",
    "learning_rate",
    "batch_size",
    "gradient_accumulation",
    "lora_rank",
    "save_steps",
    "eval_steps",
    "logging_steps",
)

_LEARNING_RATE = 1e-5
_LORA_LEARNING_RATE = 1e-4


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train a reward model.

    Attributes:
        data: Preferences to train on; see `rewardserve_evaluation.read_preferences`.
        output: Directory for the checkpoint; new or empty, unless `resume`.
        eval_data: Preferences to evaluate on; by default a part of `data` that isn't trained on.
        eval_fraction: How large a part, of the rows; 0 evaluates nothing.
        chat: Read a text prompt and its text answers as a conversation, rendered by the chat template.
        tokenization: How text becomes tokens: `plain`, `openrlhf` or `trl`. `auto` keeps the way of a base that has a
            value head; a new head gets `openrlhf` where it is saved for OpenRLHF, else `trl`.
        max_length: Tokens of one sequence. Pairs with a longer one are left out, and counted.
        init_value_head: Whether the base's value head is replaced by a new one.
        lora_rank: Train LoRA matrices of this rank, and the head, and merge them at the end; None trains the model.
        train_layers: Train only the last so many layers and the head; 0 the head alone; None everything.
        precision: Of the backbone's arithmetic while training. Weights, value head and loss are float32 in any.
        epochs: Passes over the data.
        max_steps: Updates after which it ends, whatever `epochs` says.
        learning_rate: Of AdamW; by default 1e-5, with LoRA 1e-4. Falls linearly to zero.
        batch_size: Pairs of one forward pass on each device.
        gradient_accumulation: Forward passes of one update.
        gradient_checkpointing: Whether activations are computed again instead of kept: less memory, more time.
        center_rewards: Weight of the mean of (chosen + rejected)² in the loss (Eisenstein et al. 2023,
            arXiv:2312.09244); None leaves it out.
        seed: Of the order of the data, of LoRA's matrices, and of the part to evaluate on.
        logging_steps: Updates between two lines of the log.
        eval_steps: Updates between two evaluations while training; None evaluates at the end only.
        save_steps: Updates between two checkpoints to resume from.
        resume: Go on from the last of them; from the start where there is none yet.
        save_format: `hf` (transformers' sequence classification) or `openrlhf`.
        normalize: Whether the rewards of the saved model are (reward - mean) / std, by the evaluation's.
        report_to: Where the trainer reports to: `none`, `tensorboard`, `wandb`, ….
    """

    data: Path
    output: Path
    eval_data: Path | None = None
    eval_fraction: float = 0.05
    chat: bool = False
    tokenization: TokenizationPreset = "auto"
    max_length: int = 1024
    init_value_head: bool = False
    lora_rank: int | None = None
    train_layers: int | None = None
    precision: Precision = "fp32"
    epochs: float = 1.0
    max_steps: int | None = None
    learning_rate: float | None = None
    batch_size: int = 8
    gradient_accumulation: int = 1
    gradient_checkpointing: bool = False
    center_rewards: float | None = None
    seed: int = 0
    logging_steps: int = 10
    eval_steps: int | None = None
    save_steps: int = 500
    resume: bool = False
    save_format: SaveFormat = "hf"
    normalize: bool = False
    report_to: str = "none"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise TrainingError(f"{name} is {getattr(self, name)!r}. Remedy: one of {', '.join(get_args(choices))}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise TrainingError(f"{name} is {value}. Remedy: more than 0")
        if not 0 <= self.eval_fraction < 1:
            raise TrainingError(f"eval_fraction is {self.eval_fraction}. Remedy: at least 0, and less than 1")
        if self.train_layers is not None and self.train_layers < 0:
            raise TrainingError(f"train_layers is {self.train_layers}. Remedy: 0 for the head alone, or more")
        if self.train_layers is not None and self.lora_rank is not None:
            raise TrainingError("lora_rank and train_layers exclude each other. Remedy: leave one of them out")
        if not self.evaluates and (self.normalize or self.eval_steps is not None):
            raise TrainingError(
                "normalize and eval_steps need an evaluation, and eval_fraction is 0. Remedy: eval_data, or a fraction"
            )

    @property
    def evaluates(self) -> bool:
        """Whether there is an evaluation set."""
        return self.eval_data is not None or self.eval_fraction > 0

    @property
    def effective_learning_rate(self) -> float:
        """The learning rate, its default filled in."""
        return self.learning_rate or (_LORA_LEARNING_RATE if self.lora_rank else _LEARNING_RATE)
