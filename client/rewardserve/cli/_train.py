"""`rewardserve train`."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text

from rewardserve.cli._checkpoint_options import Tokenization
from rewardserve.cli._console import details, progress_bar, stderr, stdout
from rewardserve.cli._evaluation_tables import length_table
from rewardserve.cli._extras import require
from rewardserve.cli._scored_text import scored_text

if TYPE_CHECKING:
    from rewardserve_training import TrainOptions, TrainProgress, TrainSummary

__all__ = ["train"]

_DATA, _MODEL, _TRAINING, _SAVING = "Data", "Model", "Training", "Saving and logging"


class _Precision(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class _SaveFormat(StrEnum):
    hf = "hf"
    openrlhf = "openrlhf"


def train(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="A reward model or a language model: a directory, or its Hub name.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Preferences: JSONL as `evaluate` reads it, also compressed.", rich_help_panel=_DATA
        ),
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the checkpoint goes: new or empty.", rich_help_panel=_SAVING)
    ],
    eval_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Preferences to evaluate on. [default: a part of --data]", rich_help_panel=_DATA
        ),
    ] = None,
    eval_fraction: Annotated[
        float, typer.Option(metavar="F", help="How large a part is held out for it.", rich_help_panel=_DATA)
    ] = 0.05,
    chat: Annotated[
        bool,
        typer.Option("--chat", help="Read texts with a `prompt` as conversations.", rich_help_panel=_DATA),
    ] = False,
    tokenization: Annotated[
        Tokenization,
        typer.Option(
            metavar="PRESET",
            help="How text becomes tokens: `plain`, `openrlhf` or `trl`. `auto` keeps the way of a trained base; "
            "else `trl`, or `openrlhf` with that save format.",
            rich_help_panel=_DATA,
        ),
    ] = Tokenization.auto,
    max_length: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Tokens of one sequence; longer pairs are left out.", rich_help_panel=_DATA
        ),
    ] = 1024,
    init_value_head: Annotated[
        bool,
        typer.Option("--init-value-head", help="Begin with a new head, though BASE has one.", rich_help_panel=_MODEL),
    ] = False,
    lora_rank: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="R", help="Train LoRA of this rank and the head; merged at the end.", rich_help_panel=_MODEL
        ),
    ] = None,
    train_layers: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Train only the last N layers and the head; 0: the head alone.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    precision: Annotated[
        _Precision,
        typer.Option(
            metavar="PRECISION",
            help="Of the backbone's arithmetic: `fp32`, `bf16`, `fp16`. Weights, head and loss are fp32 in any.",
            rich_help_panel=_TRAINING,
        ),
    ] = _Precision.fp32,
    epochs: Annotated[float, typer.Option(metavar="N", help="Passes over the data.", rich_help_panel=_TRAINING)] = 1.0,
    max_steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="End after so many updates. [default: all]", rich_help_panel=_TRAINING),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="LR", help="Of AdamW. [default: 1e-5; with LoRA 1e-4]", rich_help_panel=_TRAINING),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Pairs of a forward pass on each device.", rich_help_panel=_TRAINING),
    ] = 8,
    gradient_accumulation: Annotated[
        int, typer.Option(min=1, metavar="N", help="Forward passes of one update.", rich_help_panel=_TRAINING)
    ] = 1,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option("--gradient-checkpointing", help="Less memory, for more time.", rich_help_panel=_TRAINING),
    ] = False,
    center_rewards: Annotated[
        float | None,
        typer.Option(
            metavar="C", help="Weight of the term that keeps rewards near 0. [default: none]", rich_help_panel=_TRAINING
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything random.", rich_help_panel=_TRAINING)] = 0,
    save_format: Annotated[
        _SaveFormat,
        typer.Option(
            metavar="FORMAT",
            help="`hf`: transformers' sequence classification; `openrlhf`: as OpenRLHF reads it.",
            rich_help_panel=_SAVING,
        ),
    ] = _SaveFormat.hf,
    normalize: Annotated[
        bool,
        typer.Option(
            "--normalize", help="Serve (reward - mean) / std, by the evaluation set.", rich_help_panel=_SAVING
        ),
    ] = False,
    save_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Updates between two checkpoints.", rich_help_panel=_SAVING)
    ] = 500,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on from the last checkpoint in --output, if there is one.", rich_help_panel=_SAVING
        ),
    ] = False,
    logging_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Updates between two log lines.", rich_help_panel=_SAVING)
    ] = 10,
    eval_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Updates between two evaluations. [default: only at the end]",
            rich_help_panel=_SAVING,
        ),
    ] = None,
    report_to: Annotated[
        str,
        typer.Option(metavar="NAME", help="`none`, `tensorboard`, `wandb`, …: the trainer's.", rich_help_panel=_SAVING),
    ] = "none",
) -> None:
    """Train a reward model on preference pairs, ready to `export`.

    TRL's RewardTrainer trains; the value head stays in float32 in every precision. A value head in BASE is kept; a
    language model gets a new one. On many devices: `accelerate launch -m rewardserve_training BASE …`.
    """
    package = require("rewardserve_training", "train")
    options = package.TrainOptions(
        data=data,
        output=output,
        eval_data=eval_data,
        eval_fraction=eval_fraction,
        chat=chat,
        tokenization=tokenization.value,
        max_length=max_length,
        init_value_head=init_value_head,
        lora_rank=lora_rank,
        train_layers=train_layers,
        precision=precision.value,
        epochs=epochs,
        max_steps=max_steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        gradient_accumulation=gradient_accumulation,
        gradient_checkpointing=gradient_checkpointing,
        center_rewards=center_rewards,
        seed=seed,
        save_format=save_format.value,
        normalize=normalize,
        save_steps=save_steps,
        resume=resume,
        logging_steps=logging_steps,
        eval_steps=eval_steps,
        report_to=report_to,
    )
    summary = _train(package, base, options)
    if summary is None:  # another process prints
        return
    console = stdout()
    console.print(_table(summary))
    if summary.length_bias is not None:
        console.print(length_table(summary.length_bias))
        for finding in summary.length_bias.findings():
            console.print(finding)
    console.print(Text.assemble(("saved", "green"), f" {summary.path}"))
    console.print(Text.assemble(("report", "green"), f" {summary.path / package.REPORT_FILE}"))
    console.print(f"next: rewardserve export {shlex.quote(str(summary.path))} --repository model_repository")


def _train(package: ModuleType, base: str, options: TrainOptions) -> TrainSummary | None:
    """Trains below a bar; where standard error is no terminal there are lines of a log instead."""
    console = stderr()
    with progress_bar(MofNCompleteColumn()) as bar:
        task = bar.add_task("training", visible=False)  # only the main process is told, and shows it

        def told(progress: TrainProgress) -> None:
            bar.update(task, completed=progress.step, total=progress.steps, visible=True)
            if progress.loss is None:
                return
            measured = f"loss {progress.loss:.3f}, accuracy {progress.accuracy:.0%}"
            bar.update(task, description=f"training: {measured}")
            if not console.is_terminal:
                console.print(f"{progress.step:,} of {progress.steps:,}: {measured}, margin {progress.margin:.3f}")

        def note(text: str) -> None:
            bar.console.print(Text.assemble(("note:", "yellow"), f" {text}"))

        summary: TrainSummary | None = package.train(base, options, note, told)
    return summary


def _table(summary: TrainSummary) -> Table:
    accuracy = summary.accuracy
    rows: dict[str, str | Text] = {
        "value head": summary.head,
        "trained": f"{summary.trained_parameters:,} of {summary.parameters:,} parameters, {summary.steps:,} updates in "
        f"{summary.seconds:,.0f} s, mean loss {summary.train_loss:.4f}",
        "pairs": f"{summary.train_pairs:,} trained on, {summary.too_long:,} left out as too long",
        "scored text": f"{scored_text(summary.tokenization)}; up to {summary.tokenization.max_length:,} tokens",
        "evaluation": "none",
    }
    if accuracy is not None:
        rows["evaluation"] = (
            f"accuracy {accuracy.accuracy:.1%} of {accuracy.rows:,} pairs (95%: {accuracy.low:.1%} to "
            f"{accuracy.high:.1%}), rewards {summary.mean:.3f} ± {summary.std:.3f}"
        )
    return details("Training", rows)
