"""`rewardserve playground`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from rewardserve._client import RewardClient
from rewardserve.cli._console import stderr, stdout
from rewardserve.cli._extras import require
from rewardserve.cli._server_options import Server, Timeout, takes_server

__all__ = ["playground"]

_TIMEOUT = 60.0


@takes_server
def playground(
    *,
    server: Server,
    pairs: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Preferences (JSONL, also .gz) to offer there."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(metavar="IP", help="IPv4 address to bind to. The page has no password: others may use what is."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen on. 0: a free one.")] = 7860,
    timeout: Timeout = _TIMEOUT,
) -> None:
    """Look at rewards on a local web page.

    Paste a prompt and several responses to see them ranked, with the value at every token where the model was exported
    with `--values`; or a JSONL of preference pairs, as a table with the accuracy. The page needs nothing from the
    internet. Ctrl-C ends it.
    """
    package = require("rewardserve_server.playground", "playground")
    arguments = {**server.client_arguments(), "timeout": timeout}

    def announce(address: str) -> None:
        stdout().print(Text.assemble(("ready", "green"), f": model {server.model_name} at {server.address}"))
        stdout().print(f"  open {address}")

    if host != "127.0.0.1":
        text = " whoever reaches this address may use the model, without a password"
        stderr().print(Text.assemble(("warning:", "yellow"), text))
    package.run_playground(lambda: RewardClient(**arguments), host=host, port=port, pairs=pairs, on_ready=announce)
