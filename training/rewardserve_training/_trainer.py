"""TRL's RewardTrainer, set up: loss, mixed precision, accumulation, checkpoints, LoRA and launching are its own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, TaskType
from torch import nn
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from trl import RewardConfig, RewardTrainer

from rewardserve_training._errors import TrainingError
from rewardserve_training._options import TrainOptions
from rewardserve_training._pairs import TokenPair

__all__ = ["CHECKPOINTS", "freeze", "last_checkpoint", "reward_config", "reward_trainer"]

CHECKPOINTS = "checkpoints"
"""Below the output directory: what a training resumes from."""

_STATE = "trainer_state.json"


class _Trainer(RewardTrainer):
    def _send_telemetry(self) -> None:
        """A training of reward models tells nobody."""


def reward_config(options: TrainOptions) -> RewardConfig:
    """TRL's options for ours.

    Raises:
        TrainingError: The machine doesn't do this precision, or a reporter isn't installed.
    """
    has_accelerator = torch.accelerator.is_available()
    if options.precision == "fp16" and not has_accelerator:
        # accelerate would say nothing, and compute in float32.
        raise TrainingError("precision is 'fp16', and there is no GPU, which it is for. Remedy: 'bf16' or 'fp32'")
    try:
        return RewardConfig(
            output_dir=str(options.output / CHECKPOINTS),
            max_length=None,  # pairs that are too long are left out while they are tokenized
            num_train_epochs=options.epochs,
            max_steps=options.max_steps or -1,
            learning_rate=options.effective_learning_rate,
            per_device_train_batch_size=options.batch_size,
            per_device_eval_batch_size=options.batch_size,
            gradient_accumulation_steps=options.gradient_accumulation,
            activation_checkpointing=options.gradient_checkpointing,
            use_cpu=not has_accelerator,
            dataloader_pin_memory=has_accelerator,
            bf16=options.precision == "bf16",
            fp16=options.precision == "fp16",
            center_rewards_coefficient=options.center_rewards,
            seed=options.seed,
            logging_steps=options.logging_steps,
            logging_first_step=True,
            eval_strategy="no" if options.eval_steps is None else "steps",
            eval_steps=options.eval_steps,
            save_strategy="steps",
            save_steps=options.save_steps,
            save_total_limit=2,
            ddp_find_unused_parameters=False,
            report_to=options.report_to,
            disable_tqdm=True,  # `ProgressCallback` takes the bar's place
        )
    except (ValueError, RuntimeError, ImportError) as error:
        raise TrainingError(f"{error}. Remedy: another precision, for instance bf16") from error


def reward_trainer(
    model: PreTrainedModel,
    tokenizer: Any,
    config: RewardConfig,
    train: Sequence[TokenPair],
    evaluation: Sequence[TokenPair],
    lora_rank: int | None,
    progress: TrainerCallback,
) -> RewardTrainer:
    """The trainer, ready to `train()`.

    Raises:
        TrainingError: LoRA doesn't know the model's layers, or what the trainer reports to isn't installed.
    """
    lora = None
    if lora_rank is not None:
        lora = LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=lora_rank,
            lora_alpha=2 * lora_rank,
            target_modules="all-linear",
            modules_to_save=["score"],
        )
    try:
        with warnings.catch_warnings():
            # peft 0.21 reads a name that transformers 5.24 deprecates.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            trainer = _Trainer(
                model=model,
                args=config,
                train_dataset=_dataset(train),
                eval_dataset=_dataset(evaluation) if config.do_eval else None,
                processing_class=tokenizer,
                peft_config=lora,
                callbacks=[progress],
            )
    except (ValueError, RuntimeError) as error:
        raise TrainingError(f"the trainer can't be set up: {error}") from error
    trainer.remove_callback(PrinterCallback)
    return trainer


def _dataset(pairs: Sequence[TokenPair]) -> Dataset:
    """TRL's columns for pairs that are tokenized; where one has a margin the others' is 0."""
    columns: dict[str, list[Any]] = {
        "chosen_ids": [pair.chosen_ids for pair in pairs],
        "rejected_ids": [pair.rejected_ids for pair in pairs],
    }
    margins = [pair.preference.margin for pair in pairs]
    if any(margin is not None for margin in margins):
        columns["margin"] = [margin or 0.0 for margin in margins]
    return Dataset.from_dict(columns)


def freeze(model: PreTrainedModel, train_layers: int) -> None:
    """Leaves the last layers and the head to train; the head alone where it is 0.

    The final norm stays as it is: its scale and the head's weight are one factor each of the same product.

    Raises:
        TrainingError: The model has fewer layers.
    """
    model.base_model.requires_grad_(False)
    layers = next((module for module in model.base_model.modules() if isinstance(module, nn.ModuleList)), ())
    if train_layers > len(layers):
        raise TrainingError(f"train_layers is {train_layers}, and the model has {len(layers)}. Remedy: at most as many")
    for index in range(len(layers) - train_layers, len(layers)):
        layers[index].requires_grad_(True)


def last_checkpoint(output: Path) -> Path | None:
    """The last complete checkpoint to resume from; the trainer's state is what it writes last."""
    found = {
        int(number): path
        for path in (output / CHECKPOINTS).glob("checkpoint-*")
        if (number := path.name.removeprefix("checkpoint-")).isdigit() and (path / _STATE).is_file()
    }
    return found[max(found)] if found else None
