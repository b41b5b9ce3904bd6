"""`rewardserve versions`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from rewardserve.cli._console import stdout
from rewardserve.cli._extras import require
from rewardserve.cli._release_options import ModelName, Repository, RunningServers
from rewardserve.cli._server_options import takes_server

if TYPE_CHECKING:
    from rewardserve_export.repository import Version
    from rewardserve_server import LoadedVersion

__all__ = ["versions"]


@takes_server
def versions(
    repository: Repository,
    name: ModelName = "reward",
    *,
    server: RunningServers,
) -> None:
    """List a model's versions: which is the default, and which are served.

    With `--url`, also which of them each running server has loaded, and when it was asked last.
    """
    package = require("rewardserve_export.repository", "export")
    found = package.Versions(package.ModelDirectory(repository, name)).all()
    with server.connected() as servers:
        loaded = {each.url: {one.version: one for one in each.loaded(name)} for each in servers}
    stdout().print(_table(found, loaded))


def _table(found: Iterable[Version], servers: Mapping[str, Mapping[str, LoadedVersion]]) -> Table:
    table = Table()
    table.add_column("version", justify="right", style="cyan", no_wrap=True)
    for name in ("state", "model", "size", "exported", *servers):
        table.add_column(name, overflow="fold")
    for version in found:
        table.add_row(
            version.number,
            "default" if version.default else "served" if version.served else "",
            f"{version.contract.architecture}, {version.contract.precision}",
            f"{version.bytes / 1e6:,.0f} MB",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(version.exported)),
            *(_last_request(loaded.get(version.number)) for loaded in servers.values()),
        )
    return table


def _last_request(loaded: LoadedVersion | None) -> str:
    if loaded is None:
        return ""
    if loaded.last_request is None:
        return "loaded, no request yet"
    return f"loaded, asked {max(0.0, time.time() - loaded.last_request):.0f} s ago"
