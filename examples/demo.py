"""`make demo`: from preference pairs to rewards over gRPC, in a few minutes on a laptop.

Trains a value head on frozen SmolLM2-135M, exports the checkpoint, serves it with a real tritonserver, and scores pairs
that the head never saw: as the training scored them.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rewardserve import RewardClient
from rewardserve_export import ExportOptions, export
from rewardserve_server import ServeOptions, TritonProcess
from rewardserve_training import REPORT_FILE, TrainOptions, TrainProgress, train
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from smollm2 import read_smollm2
from transformers.utils import logging as transformers_logging

HERE = Path(__file__).parent
OUTPUT = Path("demo_output")
HELD_OUT = 40
"""Pairs at the end of the file that the head is not trained on."""
console = Console()


@dataclass(frozen=True)
class Pair:
    """A question with a better and a worse answer."""

    prompt: str
    chosen: str
    rejected: str
    flaw: str

    def text(self, answer: str) -> str:
        """The conversation, in the model's own chat markup."""
        return f"<|im_start|>user\n{self.prompt}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>"

    @property
    def texts(self) -> list[str]:
        """The better one, the worse one."""
        return [self.text(self.chosen), self.text(self.rejected)]


def main() -> None:
    """Runs the demo."""
    started = time.monotonic()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    pairs = [Pair(**json.loads(line)) for line in (HERE / "preferences.jsonl").read_text().splitlines()]
    held_out = pairs[-HELD_OUT:]
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()

    console.rule("[bold]1. Train a reward model: SmolLM2-135M and a value head")
    checkpoint = train_checkpoint(pairs[:-HELD_OUT], held_out, OUTPUT / "checkpoint")
    console.rule("[bold]2. Export: trace, check parity, publish")
    export_checkpoint(checkpoint, OUTPUT / "model_repository")
    console.rule("[bold]3. Serve with tritonserver, score over gRPC")
    rewards = serve_and_score(OUTPUT / "model_repository", held_out)
    compare(rewards, checkpoint / "evaluation.jsonl")
    console.print(f"{time.monotonic() - started:.0f} seconds in all")


def write_pairs(pairs: list[Pair], file: Path) -> Path:
    """Preferences as `rewardserve train` and `rewardserve evaluate` read them."""
    rows = [dict(zip(("chosen", "rejected"), pair.texts, strict=True)) for pair in pairs]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def train_checkpoint(pairs: list[Pair], held_out: list[Pair], directory: Path) -> Path:
    """The same as `rewardserve train`: the value head alone, one pass over the pairs."""
    base = OUTPUT / "smollm2"
    with console.status("loading SmolLM2-135M-Instruct"):
        for part in read_smollm2():
            part.save_pretrained(base)
    options = TrainOptions(
        data=write_pairs(pairs, OUTPUT / "train.jsonl"),
        eval_data=write_pairs(held_out, OUTPUT / "held_out.jsonl"),
        output=directory,
        tokenization="plain",  # the texts have the chat's markup
        train_layers=0,
        learning_rate=0.01,
        batch_size=4,
        logging_steps=1,
    )
    console.print(
        f"[dim]$ rewardserve train {base} --data {options.data} --eval-data {options.eval_data} --output {directory} "
        f"--tokenization {options.tokenization} --train-layers {options.train_layers} "
        f"--learning-rate {options.learning_rate} --batch-size {options.batch_size}[/]"
    )
    with Progress(console=console) as bar:
        task = bar.add_task("training", total=None)

        def show(progress: TrainProgress) -> None:
            bar.update(task, completed=progress.step, total=progress.steps)
            if progress.loss is not None:
                bar.update(task, description=f"training, loss {progress.loss:.2f}")

        summary = train(base, options, progress=show)
    assert summary is not None  # it is in the main process
    assert summary.accuracy is not None  # and there is an evaluation
    console.print(
        f"trained on {summary.train_pairs} pairs in {summary.seconds:.0f} s; "
        f"ranks {summary.accuracy.accuracy:.0%} of {summary.accuracy.rows} others right; saved in {directory}"
    )
    console.print(f"learning curve, rewards and length bias: {directory / REPORT_FILE}")
    return directory


def export_checkpoint(checkpoint: Path, repository: Path) -> None:
    """The same as `rewardserve export`."""
    console.print(f"[dim]$ rewardserve export {checkpoint} --repository {repository}[/]")
    with console.status("") as status:
        summary = export(
            checkpoint,
            ExportOptions(repository=repository),
            lambda what, done, steps: status.update(what + (f" ({done}/{steps})" if steps else "")),
        )
    console.print(
        f"published {summary.path} in {summary.seconds:.0f} s; rewards within "
        f"{summary.contract.parity.largest_difference:.1e} of transformers"
    )


def serve_and_score(repository: Path, pairs: list[Pair]) -> NDArray[np.float32]:
    """The same as `rewardserve serve` and `RewardClient.score`."""
    console.print(f"[dim]$ rewardserve serve --repository {repository}[/]")
    options = ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)
    with TritonProcess(options) as server:
        server.wait_until_ready()
        console.print(f"tritonserver is ready at {server.grpc_url}")
        with RewardClient(server.grpc_url) as client:
            began = time.monotonic()
            rewards = client.score([text for pair in pairs for text in pair.texts]).reshape(-1, 2)
            seconds = time.monotonic() - began
    table = Table(title=f"{len(pairs)} pairs that the head never saw", title_justify="left")
    table.add_column("prompt", overflow="ellipsis", no_wrap=True, max_width=38)
    table.add_column("rejected is", no_wrap=True)
    for name in ("chosen", "rejected", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for pair, (chosen, rejected) in zip(pairs, rewards.tolist(), strict=True):
        mark = "[green]✓[/]" if chosen > rejected else "[red]✗[/]"
        table.add_row(pair.prompt, pair.flaw.replace("_", " "), f"{chosen:.2f}", f"{rejected:.2f}", mark)
    console.print(table)
    right = int((rewards[:, 0] > rewards[:, 1]).sum())
    console.print(f"[bold]held-out accuracy {right / len(pairs):.0%}[/] ({right} of {len(pairs)}); ", end="")
    console.print(f"{2 * len(pairs)} texts scored in {seconds:.1f} s over gRPC")
    return rewards


def compare(rewards: NDArray[np.float32], evaluation: Path) -> None:
    """What the training measured on the same pairs."""
    rows = [json.loads(line) for line in evaluation.read_text().splitlines()]
    measured = np.array([[row["chosen_reward"], row["rejected_reward"]] for row in rows])
    console.print(f"largest difference from the rewards measured in training: {np.abs(rewards - measured).max():.1e}")


if __name__ == "__main__":
    main()
