"""`rewardserve serve`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from rewardserve._contract import text_model, tokenizer_model
from rewardserve.cli._console import stderr, stdout
from rewardserve.cli._extras import require

if TYPE_CHECKING:
    from rewardserve_server import TritonProcess

__all__ = ["serve"]


class _ModelControl(StrEnum):
    none = "none"
    explicit = "explicit"


def serve(
    repository: Annotated[Path, typer.Option(help="Triton model repository, as `rewardserve export` wrote it.")],
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port for clients. 0: a free one.")
    ] = 8001,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port for HTTP and health checks. 0: a free one.")
    ] = 8000,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port for Prometheus. 0: a free one.")
    ] = 8002,
    host: Annotated[
        str,
        typer.Option(
            help="IPv4 address to bind to. 0.0.0.0 lets other machines in: without --tls-client-ca, anyone there. "
            "With TLS, HTTP and metrics, which Triton can't encrypt, stay on 127.0.0.1."
        ),
    ] = "127.0.0.1",
    tls_certificate: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="The server's certificate and its chain: gRPC speaks TLS. [default: no TLS]"),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="The certificate's private key, not encrypted.")
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="PEM", help="CA that a client's certificate must be signed by. [default: clients need none]"
        ),
    ] = None,
    admin_key: Annotated[
        str | None,
        typer.Option(
            envvar="REWARDSERVE_ADMIN_KEY",
            metavar="KEY",
            help="Key for requests to the model repository, shared memory, trace and logging. "
            "[default: a random one, printed]",
        ),
    ] = None,
    model_control: Annotated[
        _ModelControl,
        typer.Option(
            metavar="MODE",
            help="`explicit` lets `promote`, `rollback` and `prune` change versions while the server runs, with the "
            "admin key.",
        ),
    ] = _ModelControl.none,
    log_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep what tritonserver prints. [default: it is dropped]")
    ] = None,
    tritonserver: Annotated[
        Path | None,
        typer.Option(help="The tritonserver to run. [default: the one on PATH, else the one of the `serve` extra]"),
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Argument(metavar="-- OPTIONS", help="Behind `--`: options for tritonserver itself.")
    ] = None,
) -> None:
    """Start a tritonserver on a model repository, and wait until every model is ready.

    Ctrl-C stops it. Any `tritonserver --model-repository DIR` that has the models' backends works just as well.
    """
    package = require("rewardserve_server", "serve")
    given = {} if admin_key is None else {"admin_key": admin_key}
    try:
        options = package.ServeOptions(
            repository=repository,
            host=host,
            grpc_port=grpc_port,
            http_port=http_port,
            metrics_port=metrics_port,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            tls_client_ca=tls_client_ca,
            **given,
            model_control=model_control.value,
            tritonserver=tritonserver,
            extra_args=tuple(extra or ()),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    status = stderr().status(Text(f"starting tritonserver on {repository}"))
    status.start()

    def announce(server: TritonProcess) -> None:
        status.stop()
        # A key that was given is a secret of whoever gave it.
        key = options.admin_key if admin_key is None else "as given"
        headers = f"gRPC header {package.GRPC_ADMIN_HEADER}, HTTP header {package.HTTP_ADMIN_HEADER}"
        _announce(
            server,
            package.required_backends(repository),
            tls=tls_certificate is not None,
            admin=f"{key} ({headers})",
        )

    try:
        code = package.serve(options, on_ready=announce, log_file=log_file)
    finally:
        status.stop()
    raise typer.Exit(code)


def _announce(server: TritonProcess, served: Iterable[str], *, tls: bool, admin: str) -> None:
    names = set(served)
    models = sorted(names - {companion(name) for name in names for companion in (tokenizer_model, text_model)})
    console = stdout()
    console.print(Text.assemble(("ready", "green"), f" (pid {server.pid}): {', '.join(models)}"))
    console.print(f"  gRPC     {server.grpc_url}{' (TLS)' if tls else ''}")
    console.print(f"  HTTP     {server.http_url}")
    console.print(f"  metrics  {server.metrics_url}")
    console.print(f"  admin    {admin}")
    if models:
        security = ["--tls-ca", "CA.pem"] if tls else []
        arguments = ["--url", server.grpc_url, "--model", models[0], *security, "Is this text any good?"]
        console.print(f"try:\n  rewardserve score {shlex.join(arguments)}")
