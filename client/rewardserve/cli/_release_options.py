"""Options that the commands about releases share: which model where, and which running servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardserve.cli._console import stderr
from rewardserve.cli._extras import require
from rewardserve.cli._server_options import Address

if TYPE_CHECKING:
    from rewardserve_server import ServerControl

__all__ = ["AdminKey", "ModelName", "Repository", "model_directory", "report", "running_servers"]

Repository = Annotated[Path, typer.Option(metavar="DIR", help="Triton model repository, as the servers read it.")]
ModelName = Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the model in the repository.")]
AdminKey = Annotated[
    str | None,
    typer.Option(
        envvar="REWARDSERVE_ADMIN_KEY",
        metavar="KEY",
        help="The servers' key for administration.",
    ),
]


@contextmanager
def running_servers(address: Address, admin_key: str | None) -> Iterator[Sequence[ServerControl]]:
    """A connection to each server that `--url` names; none is the default here."""
    from rewardserve_server import ServerControl

    with ExitStack() as stack:
        yield [
            stack.enter_context(ServerControl(url, admin_key=admin_key, **address.connection_arguments()))
            for url in address.url or ()
        ]


def model_directory(repository: Path, name: str) -> Any:
    """The model's place."""
    return require("rewardserve_export.repository", "export").ModelDirectory(repository, name)


def report(step: str) -> None:
    """Tells what is being done."""
    stderr().print(step)
