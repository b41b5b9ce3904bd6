"""Preferences in, reward model out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rewardserve import Tokenization
from rewardserve._tokenizer import Encoder
from rewardserve_evaluation import Accuracy, LengthBias, check_plotting
from rewardserve_export import TokenizationPreset
from rewardserve_export._tokenization import tokenization_of
from rewardserve_export.checkpoint import Checkpoint, read_tokenizer
from tokenizers import Tokenizer
from trl import RewardConfig, RewardTrainer

from rewardserve_training._base import Base, load_base, load_tokenizer, open_base
from rewardserve_training._errors import TrainingError
from rewardserve_training._evaluation import TrainEvaluation, evaluate_pairs, write_evaluation
from rewardserve_training._options import TrainOptions
from rewardserve_training._pairs import PairSet, read_pairs
from rewardserve_training._progress import ProgressCallback, TrainProgress
from rewardserve_training._report import write_report
from rewardserve_training._run import check_output, describe_run, read_run, write_log, write_run
from rewardserve_training._save import save_model
from rewardserve_training._trainer import freeze, last_checkpoint, reward_config, reward_trainer

__all__ = ["TrainSummary", "train"]


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What a training made.

    Attributes:
        path: The checkpoint.
        head: Where its value head came from, in words.
        steps: Updates, those before it was resumed included.
        train_loss: Mean over the updates since it was started or resumed.
        train_pairs: Pairs trained on.
        too_long: Pairs left out because a sequence has too many tokens.
        trained_parameters: Numbers that were trained.
        parameters: Numbers in the model.
        accuracy: On the evaluation set; None without one.
        length_bias: What the rewards there have to do with lengths.
        mean: Of the evaluation's rewards, as the head gives them.
        std: Their standard deviation.
        tokenization: How text became tokens.
        seconds: Of this run.
    """

    path: Path
    head: str
    steps: int
    train_loss: float
    train_pairs: int
    too_long: int
    trained_parameters: int
    parameters: int
    accuracy: Accuracy | None
    length_bias: LengthBias | None
    mean: float | None
    std: float | None
    tokenization: Tokenization
    seconds: float


def train(
    source: str | Path,
    options: TrainOptions,
    notice: Callable[[str], None] = lambda _: None,
    progress: Callable[[TrainProgress], None] = lambda _: None,
) -> TrainSummary | None:
    """Trains a reward model on preference pairs.

    Launched by `accelerate launch` or `torchrun`, every process calls this.

    Args:
        source: The base: a reward model of any format, or a language model; a directory, or a Hugging Face Hub name.
        options: How.
        notice: Told, in the main process, about what should be known: where the value head comes from, pairs left out.
        progress: Told, in the main process, how far it is.

    Returns:
        What was made; None in processes other than the main one.

    Raises:
        CheckpointError: The base can't be read.
        MissingExtraError: matplotlib, which draws the report, isn't installed.
        PreferencesError: A row of the data is wrong.
        TrainingError: Options and base, machine, or an earlier run contradict each other.
    """
    started = time.monotonic()
    check_plotting()  # the report comes last
    config = reward_config(options)
    checkpoint = open_base(source)
    if config.process_index == 0:
        check_output(options)
    tokenizer = load_tokenizer(checkpoint)
    rules, encoder = _tokenization(checkpoint, tokenizer, options)
    pairs = read_pairs(options, encoder, rules)
    base = load_base(checkpoint, init_value_head=options.init_value_head)
    if config.process_index == 0:
        _begin(source, options, pairs)
        notice(f"value head {base.head}")
        if pairs.too_long:
            notice(f"{pairs.too_long} pairs left out: a sequence has more than {rules.max_length} tokens")
    trainer = _trainer(base, tokenizer, options, config, pairs, ProgressCallback(progress))
    trained = sum(parameter.numel() for parameter in base.model.parameters() if parameter.requires_grad)
    resumed = last_checkpoint(options.output) if options.resume else None
    result = trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    evaluation = _finish(trainer, options, pairs, rules)
    if config.process_index != 0:
        return None
    write_report(options.output, read_run(options.output), trainer.state.log_history, evaluation)
    return TrainSummary(
        path=options.output,
        head=base.head,
        steps=result.global_step,
        train_loss=result.training_loss,
        train_pairs=len(pairs.train),
        too_long=pairs.too_long,
        trained_parameters=trained,
        parameters=base.model.num_parameters(),
        accuracy=evaluation.accuracy if evaluation else None,
        length_bias=evaluation.length_bias if evaluation else None,
        mean=evaluation.mean if evaluation else None,
        std=evaluation.std if evaluation else None,
        tokenization=rules,
        seconds=time.monotonic() - started,
    )


def _tokenization(checkpoint: Checkpoint, tokenizer: Any, options: TrainOptions) -> tuple[Tokenization, Encoder]:
    """The rules to train by, with the tokenizer as it will be saved: `export` finds that one, to the byte."""
    with tempfile.TemporaryDirectory() as directory:
        tokenizer.save_pretrained(directory)
        saved = replace(checkpoint, tokenizer=read_tokenizer(Path(directory)))
    preset: TokenizationPreset = options.tokenization
    new_head = options.init_value_head or not checkpoint.head.trained
    if preset == "auto" and new_head and checkpoint.trained_tokenization is None:
        preset = "openrlhf" if options.save_format == "openrlhf" else "trl"
    max_length = min(options.max_length, checkpoint.positions or options.max_length)
    rules = tokenization_of(saved, max_length, "error", preset)
    return rules, Encoder(Tokenizer.from_str(saved.tokenizer.content.decode()), rules)


def _begin(source: str | Path, options: TrainOptions, pairs: PairSet) -> None:
    options.output.mkdir(parents=True, exist_ok=True)
    counts = {"train": len(pairs.train), "evaluation": len(pairs.evaluation), "too_long": pairs.too_long}
    write_run(options.output, describe_run(source, options, pairs.digest(), counts), resumed=options.resume)


def _trainer(
    base: Base,
    tokenizer: Any,
    options: TrainOptions,
    config: RewardConfig,
    pairs: PairSet,
    progress: ProgressCallback,
) -> RewardTrainer:
    if options.train_layers is not None:
        freeze(base.model, options.train_layers)
    trainer = reward_trainer(base.model, tokenizer, config, pairs.train, pairs.evaluation, options.lora_rank, progress)
    _check_launch(trainer, options)
    return trainer


def _check_launch(trainer: RewardTrainer, options: TrainOptions) -> None:
    """What FSDP and DeepSpeed would do to LoRA and to the value head."""
    if options.lora_rank is not None and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        raise TrainingError(
            "LoRA's matrices are merged at the end, and FSDP and DeepSpeed keep no whole weights to merge them into. "
            "Remedy: DDP (training/configs/ddp.yaml) with LoRA, or all weights without it"
        )
    if options.precision != "fp32" and trainer.is_deepspeed_enabled:
        raise TrainingError(
            f"in {options.precision}, DeepSpeed rounds the whole model, the value head included. Remedy: precision "
            "'fp32', and torch_autocast in DeepSpeed's configuration, as in training/configs/deepspeed.json"
        )
    if options.precision != "fp32" and trainer.is_fsdp_enabled:
        # FSDP would hand every module rounded weights; autocast alone rounds in the backbone, and not in the head.
        trainer.accelerator.state.fsdp_plugin.set_mixed_precision("fp32", override=True)


def _finish(
    trainer: RewardTrainer, options: TrainOptions, pairs: PairSet, rules: Tokenization
) -> TrainEvaluation | None:
    """Evaluates the trained model and saves it, LoRA merged."""
    accelerator, model = trainer.accelerator, trainer.model_wrapped
    if options.lora_rank is not None:
        plain: Any = accelerator.unwrap_model(model, keep_fp32_wrapper=False).merge_and_unload()
        model, weights = plain, plain.state_dict()
    else:
        plain = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        weights = accelerator.get_state_dict(model)
    evaluation = None
    if pairs.evaluation:
        evaluation = evaluate_pairs(model, accelerator, pairs.evaluation, options.batch_size)
    if accelerator.is_main_process:
        if evaluation is not None:
            write_evaluation(options.output, evaluation, normalize=options.normalize)
        write_log(options.output, trainer.state.log_history)
        save_model(
            options.output,
            plain,
            weights,
            trainer.processing_class,
            rules,
            save_format=options.save_format,
            normalize=options.normalize,
            evaluation=evaluation,
        )
    accelerator.wait_for_everyone()
    return evaluation
