"""The application: its commands, and what an error looks like."""

from __future__ import annotations

import sys

import typer
from rich.text import Text

from rewardserve._errors import RewardServeError
from rewardserve.cli._check_repository import check_repository
from rewardserve.cli._console import stderr
from rewardserve.cli._evaluate import evaluate
from rewardserve.cli._export import export
from rewardserve.cli._gateway import gateway
from rewardserve.cli._inspect import inspect
from rewardserve.cli._plan import plan
from rewardserve.cli._playground import playground
from rewardserve.cli._release import promote, prune, rollback
from rewardserve.cli._score import score
from rewardserve.cli._serve import serve
from rewardserve.cli._train import train
from rewardserve.cli._verify import verify
from rewardserve.cli._versions import versions

__all__ = ["app", "main"]

app = typer.Typer(
    name="rewardserve",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Serve RLHF reward models from Triton, with the score they had in training.

The usual way: `inspect` a checkpoint, `export` it into a Triton model repository, `serve` that repository, and `score`
texts, from here or from Python with `rewardserve.RewardClient`. `train` makes such a checkpoint from preference pairs.
`verify` compares a running server with the checkpoint, `evaluate` measures accuracy on preference pairs, `gateway`
serves trainers that call a reward model over HTTP, `playground` is a web page to look at rewards, `plan` says how
large a server has to be.
""",
)
app.command()(train)
app.command()(inspect)
app.command()(plan)
app.command()(export)
app.command()(serve)
app.command()(score)
app.command()(verify)
app.command()(evaluate)
app.command()(gateway)
app.command()(playground)
for _command in (versions, promote, rollback, prune, check_repository):
    app.command(rich_help_panel="Releases")(_command)


def main() -> None:
    """Runs the command line; an error of ours, or the system's, is one message and exit code 1, without a traceback."""
    try:
        app()
    except (RewardServeError, OSError) as error:
        stderr().print(Text.assemble(("error:", "bold red"), f" {type(error).__name__}: {error}"))
        sys.exit(1)
