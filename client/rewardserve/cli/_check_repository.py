"""`rewardserve check-repository`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from rewardserve.cli._console import stdout
from rewardserve.cli._extras import require
from rewardserve.cli._release_options import Repository

__all__ = ["check_repository"]


def check_repository(
    repository: Repository,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Check this model only. [default: all]")] = None,
) -> None:
    """Check every file against its manifest, and configurations against the contracts.

    Finds files that are missing, cut short, changed or added, and a config.pbtxt that doesn't fit the reward contract.
    Ends with exit code 1 if there is one.
    """
    checks = require("rewardserve_export.repository", "export").check_repository(repository, name)
    console = stdout()
    for check in checks:
        state = ("PROBLEMS", "bold red") if check.problems else ("as exported", "green")
        listed = ", ".join(check.versions) or "none readable"
        console.print(Text.assemble(f"{check.model} (versions {listed}): ", state))
        for problem in check.problems:
            console.print(f"  {problem}")
    if any(check.problems for check in checks):
        raise typer.Exit(1)
