"""Options that the commands about releases share: which model where, and which running servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardserve.cli._console import stderr
from rewardserve.cli._server_options import Address

if TYPE_CHECKING:
    from rewardserve_server import ServerControl

__all__ = ["ModelName", "Repository", "RunningServers", "report"]

Repository = Annotated[Path, typer.Option(metavar="DIR", help="Triton model repository, as the servers read it.")]
ModelName = Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the model in the repository.")]


@dataclass(frozen=True, kw_only=True)
class RunningServers(Address):
    """The options that say which servers to change or to ask; none is the default."""

    url: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="gRPC address of a running server; once for each. [default: none]"),
    ] = None
    admin_key: Annotated[
        str | None,
        typer.Option(
            envvar="REWARDSERVE_ADMIN_KEY",
            show_envvar=True,
            metavar="KEY",
            help="The servers' key for administration.",
        ),
    ] = None

    @contextmanager
    def connected(self) -> Iterator[Sequence[ServerControl]]:
        """A connection to each."""
        from rewardserve_server import ServerControl

        arguments = self.connection_arguments()
        with ExitStack() as stack:
            yield [
                stack.enter_context(ServerControl(url, admin_key=self.admin_key, **arguments)) for url in self.url or ()
            ]


def report(step: str) -> None:
    """Tells what is being done."""
    stderr().print(step)
