"""`rewardserve promote`, `rollback`, `prune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from rewardserve.cli._console import stdout
from rewardserve.cli._extras import require
from rewardserve.cli._release_options import ModelName, Repository, RunningServers, report
from rewardserve.cli._server_options import takes_server

if TYPE_CHECKING:
    from rewardserve_export.repository import Promotion

__all__ = ["promote", "prune", "rollback"]


@takes_server
def promote(
    repository: Repository,
    name: ModelName = "reward",
    version: Annotated[
        str | None, typer.Option(metavar="N", help="The version to serve by default. [default: the highest]")
    ] = None,
    *,
    server: RunningServers,
) -> None:
    """Make a version the one that clients get which name none.

    Its files are checked against the manifest. With `--url`, each running server (`serve --model-control explicit`)
    loads it beside what it serves and must score the manifest's sequences right; then all of them switch. The version
    before goes on for the clients that use it, until `prune`.
    """
    package = require("rewardserve_export.repository", "export")
    with server.connected() as servers:
        done = package.promote(package.ModelDirectory(repository, name), version, servers, report)
    _print(done, name, running=bool(server.url))


@takes_server
def rollback(
    repository: Repository,
    name: ModelName = "reward",
    *,
    server: RunningServers,
) -> None:
    """Promote the version that was the default before.

    As `promote` does it. While that version is still loaded, the servers switch at once.
    """
    package = require("rewardserve_export.repository", "export")
    with server.connected() as servers:
        done = package.rollback(package.ModelDirectory(repository, name), servers, report)
    _print(done, name, running=bool(server.url))


@takes_server
def prune(
    repository: Repository,
    name: ModelName = "reward",
    keep: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Versions to keep: the default, the one before it, then the highest."),
    ] = 2,
    idle: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long a version must have had no request to be stopped."),
    ] = 600.0,
    *,
    server: RunningServers,
) -> None:
    """Stop serving all versions but the default, and remove old ones.

    Name every server that reads the repository with `--url`: a version that one of them used within `--idle` seconds
    is an error, and nothing is changed. Versions above the default are never removed.
    """
    package = require("rewardserve_export.repository", "export")
    with server.connected() as servers:
        done = package.prune(package.ModelDirectory(repository, name), servers, keep=keep, idle=idle, report=report)
    stdout().print(f"stopped: {', '.join(done.stopped) or 'none'}; removed: {', '.join(done.removed) or 'none'}")


def _print(done: Promotion, name: str, *, running: bool) -> None:
    before = f", before it {done.previous}" if done.previous else ""
    console = stdout()
    console.print(Text.assemble(("default", "green"), f" of {name}: version {done.version}{before}"))
    console.print(f"served: {', '.join(done.served)}" + ("" if running else ", by servers that start from now on"))
