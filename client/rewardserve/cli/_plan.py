"""`rewardserve plan`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from rewardserve.cli._checkpoint_options import Base, CheckpointName, ValueHeadPrefix
from rewardserve.cli._console import details, stdout
from rewardserve.cli._export import Precision
from rewardserve.cli._extras import require

if TYPE_CHECKING:
    from rewardserve_export import Plan, Throughput

__all__ = ["plan"]


def plan(
    checkpoint: CheckpointName,
    gpu_memory: Annotated[
        float | None, typer.Option(metavar="GB", help="Of one GPU, in 10^9 bytes. [default: plan for a CPU]")
    ] = None,
    precision: Annotated[
        Precision, typer.Option(metavar="PRECISION", help="Of the export: `fp32`, `bf16`, `fp16`, `int8`.")
    ] = Precision.fp32,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Tokens of one sequence. [default: the backbone's positions, at most 8192]"
        ),
    ] = None,
    max_batch_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Tokens of one run. [default: 4 times max-length]")
    ] = None,
    rollouts_per_second: Annotated[
        float | None, typer.Option(metavar="N", help="To be scored by all replicas together.")
    ] = None,
    tokens_per_rollout: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Prompt and response, mean. [default: half of max-length]")
    ] = None,
    tokens_per_second: Annotated[float | None, typer.Option(metavar="N", help="Of one replica, measured.")] = None,
    tflops: Annotated[
        float | None,
        typer.Option(metavar="N", help="Of the device, as its maker states them, where nothing was measured."),
    ] = None,
    utilisation: Annotated[float, typer.Option(metavar="SHARE", help="Of `--tflops`, that a run reaches.")] = 0.4,
    base: Base = None,
    value_head_prefix: ValueHeadPrefix = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Say how large a server a checkpoint needs: memory, limits of the export, replicas.

    Reads headers only, so it is quick for any size. An estimate: docs/deployment.md compares it with measurements.
    """
    package = require("rewardserve_export", "export")
    planned = package.plan(
        checkpoint,
        package.ExportOptions(
            repository=Path(),  # nothing is written
            precision=precision.value,
            max_length=max_length,
            max_batch_tokens=max_batch_tokens,
            base=base,
            value_head_prefix=value_head_prefix,
        ),
        package.ServingTarget(
            gpu_memory=gpu_memory,
            rollouts_per_second=rollouts_per_second,
            tokens_per_rollout=tokens_per_rollout,
            tokens_per_second=tokens_per_second,
            tflops=tflops,
            utilisation=utilisation,
        ),
    )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(planned), indent=2))
    else:
        stdout().print(_table(planned))


def _table(planned: Plan) -> Table:
    memory, limits = planned.memory, planned.limits
    on_gpu = planned.available is not None
    rows: dict[str, str | Text] = {
        "model": f"{planned.parameters:,} parameters in {planned.precision}",
        "limits": f"{limits.max_length:,} tokens a sequence, {limits.max_batch_tokens:,} a run",
        "weights": _gigabytes(memory.weights),
        "activations": f"{_gigabytes(memory.of_run(limits.max_batch_tokens) - memory.weights)}: "
        f"{memory.per_token:,} bytes a token, and {_gigabytes(memory.attention)} for attention",
        "besides": f"{_gigabytes(planned.overhead)}, " + ("assumed: CUDA and libraries" if on_gpu else "the processes"),
        "memory": f"{_gigabytes(planned.total)} with one instance",
    }
    if planned.available is not None:
        rows["on this GPU"] = _fit(planned, planned.available)
    if planned.throughput is not None:
        rows |= _throughput(planned.throughput)
    return details("Plan", rows)


def _fit(planned: Plan, available: int) -> Text:
    room = _gigabytes(available)
    if planned.largest_max_batch_tokens is None:
        return Text(f"doesn't fit into {room}, not even one sequence: --precision bf16, or a larger GPU", "bold red")
    largest = f"--max-batch-tokens at most {planned.largest_max_batch_tokens:,}"
    if not planned.instances:
        return Text(f"doesn't fit into {room}; it does with {largest}", "bold red")
    instances = "1 instance fits" if planned.instances == 1 else f"{planned.instances} instances fit"
    return Text(f"{instances} into {room}; with one, {largest}", "green")


def _throughput(throughput: Throughput) -> dict[str, str]:
    source = "measured" if throughput.measured else "assumed: FLOP/s x utilisation / (2 x weights)"
    rows = {
        "one replica": f"{throughput.tokens_per_second:,.0f} tokens/s ({source}), "
        f"{throughput.rollouts_per_second:,.1f} rollouts/s of {throughput.tokens_per_rollout:,} tokens"
    }
    if throughput.replicas is not None:
        rows["replicas"] = f"{throughput.replicas}, and one to spare"
    return rows


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"
