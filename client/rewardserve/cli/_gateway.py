"""`rewardserve gateway`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from rewardserve._async_client import AsyncRewardClient
from rewardserve.cli._console import stderr, stdout
from rewardserve.cli._extras import require
from rewardserve.cli._server_options import Server, takes_server

__all__ = ["gateway"]


@takes_server
def gateway(
    *,
    server: Server,
    host: Annotated[
        str, typer.Option(metavar="IP", help="IPv4 address to bind to. 0.0.0.0 lets other machines in: set a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen on. 0: a free one.")] = 5000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="REWARDSERVE_GATEWAY_TOKEN",
            metavar="TEXT",
            show_envvar=True,
            help="What callers must send as bearer token, or as the password in the URL. Other users of this machine "
            "see the option, but not the variable. [default: everyone is let in]",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="S", help="Seconds that one call may take. OpenRLHF's callers wait for 180.")
    ] = 170.0,
    max_body: Annotated[int, typer.Option(min=1, metavar="MIB", help="Size of the largest request body, in MiB.")] = 64,
    max_concurrent: Annotated[
        int, typer.Option(min=1, metavar="N", help="Calls under way at which further ones are told to come back.")
    ] = 4096,
) -> None:
    """Serve rewards over HTTP, for OpenRLHF, verl, and anything that speaks JSON.

    `POST /get_reward` is OpenRLHF's: give its trainer `--reward.remote_url http://HOST:5000/get_reward`.
    `POST /classify` is vLLM's, as verl calls it. `/health` says whether Triton serves the model, `/metrics` is for
    Prometheus, `/openapi.json` describes the bodies. Ctrl-C finishes the calls under way.
    """
    package = require("rewardserve_server.gateway", "gateway")
    try:
        options = package.GatewayOptions(
            host=host,
            port=port,
            token=token,
            timeout=timeout,
            max_body_bytes=max_body << 20,
            max_concurrent=max_concurrent,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error

    def announce(address: str, problem: str | None) -> None:
        _announce(address, f"model {server.model_name} at {server.address}", guarded=token is not None)
        if problem is not None:
            message = f" {problem}. Calls are answered with 503 until that has passed"
            stderr().print(Text.assemble(("warning:", "yellow"), message))

    client = AsyncRewardClient(**server.client_arguments(), timeout=timeout)
    package.run_gateway(client, options, on_ready=announce)


def _announce(address: str, served: str, *, guarded: bool) -> None:
    console = stdout()
    console.print(Text.assemble(("ready", "green"), f": {served}"))
    console.print(f"  OpenRLHF  {address}/get_reward")
    console.print(f"  vLLM      {address}/classify")
    console.print(f"  health    {address}/health")
    console.print(f"  metrics   {address}/metrics")
    header = " -H 'Authorization: Bearer TOKEN'" if guarded else ""
    body = """-H 'Content-Type: application/json' -d '{"query": ["Is this text any good?"]}'"""
    console.print(f"try:\n  curl {address}/get_reward{header} {body}")
