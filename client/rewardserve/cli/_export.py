"""`rewardserve export`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import TaskProgressColumn
from rich.table import Table
from rich.text import Text

from rewardserve.cli._checkpoint_options import Base, CheckpointName, Tokenization, TokenizationOption, ValueHeadPrefix
from rewardserve.cli._console import details, progress_bar, stderr, stdout
from rewardserve.cli._extras import require
from rewardserve.cli._jsonl import read_texts
from rewardserve.cli._scored_text import scored_text

if TYPE_CHECKING:
    from rewardserve_export import ExportSummary, RewardReference
    from rewardserve_export import Progress as ExportProgress

__all__ = ["Precision", "export"]

_SERVER = "On the server"


class _Backend(StrEnum):
    python = "python"
    onnxruntime = "onnxruntime"
    pytorch = "pytorch"


class _Format(StrEnum):
    onnx = "onnx"
    torchscript = "torchscript"


class Precision(StrEnum):
    """Of an export."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"
    int8 = "int8"


class _Attention(StrEnum):
    loop = "loop"
    cuda = "cuda"


class _Truncation(StrEnum):
    error = "error"
    left = "left"
    right = "right"


def export(
    checkpoint: CheckpointName,
    repository: Annotated[Path, typer.Option(help="Triton model repository to publish in; made if missing.")],
    name: Annotated[str, typer.Option(help="Name of the model in the repository.")] = "reward",
    backend: Annotated[
        _Backend,
        typer.Option(
            metavar="BACKEND",
            help="`python` runs both formats, with onnxruntime or torch in the server's Python; `onnxruntime` (ONNX) "
            "and `pytorch` (TorchScript) are Triton's own, in its stock images.",
        ),
    ] = _Backend.python,
    graph_format: Annotated[
        _Format,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Of the graph: `onnx`, or `torchscript`, the faster one on CPUs in every precision.",
        ),
    ] = _Format.onnx,
    precision: Annotated[
        Precision,
        typer.Option(
            metavar="PRECISION",
            help="Of weights and activations: `fp32`, `bf16`, `fp16` (GPUs), `int8` (CPUs). The head is always fp32.",
        ),
    ] = Precision.fp32,
    attention: Annotated[
        _Attention,
        typer.Option(
            metavar="ATTENTION",
            help="Of ONNX: `loop` is standard ONNX; `cuda` is ONNX Runtime's GroupQueryAttention, for bf16 and fp16.",
        ),
    ] = _Attention.loop,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Tokens of one sequence. [default: as trained, else the backbone's, at most 8192]",
        ),
    ] = None,
    max_request_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Tokens of one packed request; responses share a prompt inside one. "
            "[default: max-batch-tokens with `--backend python`, else max-length]",
        ),
    ] = None,
    max_batch_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Tokens of one run; what the server's memory is sized by. [default: 4 times max-length]",
        ),
    ] = None,
    truncation: Annotated[
        _Truncation, typer.Option(help="What the client does with longer texts: an error, or cut off that end.")
    ] = _Truncation.error,
    tokenization: TokenizationOption = Tokenization.auto,
    values: Annotated[
        bool, typer.Option("--values", help="Let the server also answer the head's output at every token.")
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSONL file of objects with a `text`, at least 100, of the kind that will be served: the server's "
            "metrics compare rewards with theirs. `python` backend.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Of each instance on a CPU, `python` backend. [default: the server's cores]"
        ),
    ] = None,
    instances: Annotated[
        int,
        typer.Option(min=1, metavar="N", rich_help_panel=_SERVER, help="Copies of the model, on each of `--gpus`."),
    ] = 1,
    gpus: Annotated[
        str | None,
        typer.Option(metavar="N,N", rich_help_panel=_SERVER, help="GPUs to use. [default: all, or the CPU]"),
    ] = None,
    queue_size: Annotated[
        int,
        typer.Option(min=1, metavar="N", rich_help_panel=_SERVER, help="Requests that may wait; more are sent back."),
    ] = 4096,
    queue_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", rich_help_panel=_SERVER, help="How long a request may wait.")
    ] = 300.0,
    warmup: Annotated[
        bool,
        typer.Option("--warmup", rich_help_panel=_SERVER, help="Compute some requests before a version is ready."),
    ] = False,
    base: Base = None,
    value_head_prefix: ValueHeadPrefix = None,
    allow_untrained_head: Annotated[
        bool,
        typer.Option("--allow-untrained-head", help="Export a checkpoint without a value head, with a random one."),
    ] = False,
) -> None:
    """Export a checkpoint as the next version of a model in a Triton repository.

    Traces the packed graph, compares it with transformers over several batch compositions, and publishes it only if
    every reward agrees. An export that fails or is interrupted leaves the repository as it was.
    """
    package = require("rewardserve_export", "export")
    options = package.ExportOptions(
        repository=repository,
        name=name,
        backend=backend.value,
        format=graph_format.value,
        precision=precision.value,
        attention=attention.value,
        max_length=max_length,
        max_request_tokens=max_request_tokens,
        max_batch_tokens=max_batch_tokens,
        truncation=truncation.value,
        tokenization=tokenization.value,
        values=values,
        reference=tuple(read_texts(reference)) if reference else None,
        threads=threads,
        scheduling=package.Scheduling(
            instances=instances,
            gpus=_numbers(gpus),
            queue_size=queue_size,
            queue_timeout=queue_timeout,
            warmup=warmup,
        ),
        base=base,
        value_head_prefix=value_head_prefix,
        allow_untrained_head=allow_untrained_head,
    )
    with _progress() as report:
        summary = package.export(checkpoint, options, report)
    console = stdout()
    console.print(_table(summary, backend))
    console.print(Text.assemble(("published", "green"), f" {summary.path}"))
    if not summary.trained_head:
        console.print(Text("The value head is untrained: these rewards are random.", "bold red"))
    console.print(f"next: rewardserve serve --repository {shlex.quote(str(repository))}")


def _numbers(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} must be numbers, such as 0,1", param_hint="--gpus") from error


@contextmanager
def _progress() -> Iterator[ExportProgress]:
    """A bar for each step on a terminal, a line for each step elsewhere."""
    console = stderr()
    with progress_bar(TaskProgressColumn()) as progress:
        current, task = "", None

        def report(what: str, done: int, total: int) -> None:
            nonlocal current, task
            if what != current:
                if task is not None:
                    progress.update(task, total=1, completed=1)
                current, task = what, progress.add_task(what)
                if not console.is_terminal:
                    console.print(what)
            if task is not None:
                progress.update(task, completed=done, total=total or None)

        yield report
        if task is not None:
            progress.update(task, total=1, completed=1)


def _reference(reference: RewardReference | None) -> str:
    if reference is None:
        return "none"
    source = f"{reference.texts} texts" if reference.texts else "the checkpoint's normalisation"
    return f"mean {reference.mean:.3g}, standard deviation {reference.std:.3g}, from {source}"


def _table(summary: ExportSummary, backend: str) -> Table:
    contract = summary.contract
    parity, rules = contract.parity, contract.tokenization
    normalization = contract.normalization
    rows = {
        "model": f"{contract.architecture}, {contract.precision}, {backend} backend, version {summary.version}",
        "size": f"{summary.bytes / 1e6:,.0f} MB",
        "parity": f"{parity.largest_difference:.1e} from transformers over {parity.sequences} sequences; "
        f"{parity.batch_deviation:.1e} between batch compositions",
        "normalisation": f"(reward - {normalization.mean:g}) / {normalization.std:g}" if normalization else "none",
        "reference": _reference(summary.reference),
        "limits": f"{rules.max_length:,} tokens a sequence, {contract.max_request_tokens:,} a request, "
        f"{contract.max_batch_tokens:,} a run; {summary.max_batch_size} requests a batch",
        "longer texts": {"error": "an error"}.get(rules.truncation, f"cut off at the {rules.truncation}"),
        "scored text": scored_text(rules),
        "time": f"{summary.seconds:.1f} s, peak memory {summary.peak_memory / 1e9:.1f} GB",
    }
    return details("Export", rows)
