"""`make demo`: from preference pairs to rewards over gRPC, in a few minutes on a laptop.

Fits a value head on frozen SmolLM2-135M, exports the checkpoint, serves it with a real tritonserver, and scores pairs
that the head never saw.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rewardserve import RewardClient
from rewardserve_export import ExportOptions, export
from rewardserve_server import ServeOptions, TritonProcess
from rewardserve_training import fit_value_head, last_hidden_states
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from smollm2 import read_smollm2
from transformers import LlamaConfig, LlamaForSequenceClassification
from transformers.utils import logging as transformers_logging

HERE = Path(__file__).parent
OUTPUT = Path("demo_output")
HELD_OUT = 40
"""Pairs at the end of the file that the head is not fitted on."""
PENALTY = 0.01
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
    train, held_out = pairs[:-HELD_OUT], pairs[-HELD_OUT:]
    shutil.rmtree(OUTPUT, ignore_errors=True)

    console.rule("[bold]1. A reward model: SmolLM2-135M and a value head")
    checkpoint = make_checkpoint(train, OUTPUT / "checkpoint")
    console.rule("[bold]2. Export: trace, check parity, publish")
    export_checkpoint(checkpoint, OUTPUT / "model_repository")
    console.rule("[bold]3. Serve with tritonserver, score over gRPC")
    serve_and_score(OUTPUT / "model_repository", held_out)
    console.print(f"{time.monotonic() - started:.0f} seconds in all")


def make_checkpoint(train: list[Pair], directory: Path) -> Path:
    """Fits a head on frozen features and saves a plain sequence-classification checkpoint."""
    with console.status("loading SmolLM2-135M-Instruct"):
        language_model, tokenizer = read_smollm2()
        model = LlamaForSequenceClassification(
            LlamaConfig(**language_model.config.to_dict() | {"num_labels": 1})
        ).eval()
        model.model = language_model.model
    texts = [text for pair in train for text in pair.texts]
    with Progress(console=console) as progress:
        task = progress.add_task(f"features of {len(texts)} texts", total=len(texts))
        features = last_hidden_states(model.base_model, tokenizer, texts, lambda: progress.advance(task))
    weight = fit_value_head(features[0::2], features[1::2], l2=PENALTY)
    with torch.no_grad():
        model.get_parameter("score.weight").copy_(weight)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    margins = (features[0::2] - features[1::2]) @ weight[0]
    accuracy = (margins > 0).float().mean().item()
    console.print(f"fitted on {len(train)} pairs, {accuracy:.0%} of which it ranks right; saved in {directory}")
    return directory


def export_checkpoint(checkpoint: Path, repository: Path) -> None:
    """The same as `rewardserve export`."""
    console.print(f"[dim]$ rewardserve export {checkpoint} --repository {repository} --max-length 2048[/]")
    with console.status("") as status:
        summary = export(
            checkpoint,
            ExportOptions(repository=repository, max_length=2048),
            lambda what, done, steps: status.update(what + (f" ({done}/{steps})" if steps else "")),
        )
    console.print(
        f"published {summary.path} in {summary.seconds:.0f} s; rewards within "
        f"{summary.contract.parity.largest_difference:.1e} of transformers"
    )


def serve_and_score(repository: Path, pairs: list[Pair]) -> None:
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


if __name__ == "__main__":
    main()
