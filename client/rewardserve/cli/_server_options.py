"""Options that several commands share: which server, how it is reached, and how long to wait for it."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from rewardserve._contract import is_version
from rewardserve._tls import TLS

__all__ = ["Address", "Server", "Timeout", "takes_server"]

_SECURITY = "Secure connections"
_URL, _MODEL = "localhost:8001", "reward"


def _positive(seconds: float) -> float:
    if not 0 < seconds < math.inf:
        raise typer.BadParameter("must be a positive number of seconds")
    return seconds


Timeout = Annotated[float, typer.Option(callback=_positive, help="Seconds that one request to the server may take.")]


@dataclass(frozen=True, kw_only=True)
class Address:
    """The options that say where a server is, and how the connection is secured."""

    url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help=f"The server's gRPC address; once for each replica, or dns:///NAME:PORT. [default: {_URL}]",
        ),
    ] = None
    tls: Annotated[
        bool, typer.Option("--tls", rich_help_panel=_SECURITY, help="Use TLS; so do the options that follow.")
    ] = False
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_SECURITY,
            help="PEM file of the authority that signed the server's certificate. [default: the public ones]",
        ),
    ] = None
    tls_certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=_SECURITY, help="PEM file of this client's certificate (mutual TLS)."
        ),
    ] = None
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", rich_help_panel=_SECURITY, help="PEM file of its private key.")
    ] = None
    server_token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            envvar="REWARDSERVE_SERVER_TOKEN",
            show_envvar=True,
            rich_help_panel=_SECURITY,
            help="Bearer token for a proxy in front of the server.",
        ),
    ] = None
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:VALUE",
            rich_help_panel=_SECURITY,
            help="A header to send, such as a restricted protocol's key; may be repeated.",
        ),
    ] = None

    def connection_arguments(self) -> dict[str, Any]:
        """What every client takes, but for the address.

        Raises:
            typer.BadParameter: Options don't fit together.
        """
        headers = {}
        for line in self.header or ():
            name, colon, value = line.partition(":")
            if not (name and colon):
                raise typer.BadParameter(f"{line!r} must be NAME:VALUE", param_hint="--header")
            headers[name.strip()] = value.strip()
        tls = None
        if self.tls or any((self.tls_ca, self.tls_certificate, self.tls_key)):
            try:
                tls = TLS(ca=self.tls_ca, certificate=self.tls_certificate, key=self.tls_key)
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint="--tls-certificate, --tls-key") from error
        return {"tls": tls, "token": self.server_token, "headers": headers or None}


@dataclass(frozen=True, kw_only=True)
class Server(Address):
    """The options that say which model on which server. `takes_server` makes command-line options of them."""

    model: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"Name of the served model. [default: {_MODEL}]")
    ] = None
    model_version: Annotated[
        str | None,
        typer.Option(metavar="N", help="Its version. [default: the one that was promoted, else the highest]"),
    ] = None
    tokenizer: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The exported tokenizer.json. [default: from the cache, or from the server]"),
    ] = None

    @property
    def is_default(self) -> bool:
        """Whether none of the options was given; a token may be in the environment for other commands."""
        return not any(getattr(self, field.name) for field in fields(self) if field.name != "server_token")

    @property
    def model_name(self) -> str:
        """The model's name, given or not."""
        return self.model or _MODEL

    @property
    def address(self) -> str:
        """Where it is, for messages."""
        return ", ".join(self.url or [_URL])

    def client_arguments(self) -> dict[str, Any]:
        """What `RewardClient` and `AsyncRewardClient` take.

        Raises:
            typer.BadParameter: Options don't fit together.
        """
        version = self.model_version
        if version is not None and not is_version(version):
            raise typer.BadParameter("must be a version's number", param_hint="--model-version")
        return {
            "url": (self.url or [_URL])[0] if len(self.url or [_URL]) == 1 else self.url,
            "model": self.model_name,
            "version": version,
            "tokenizer": self.tokenizer,
            **self.connection_arguments(),
        }


def takes_server(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command, in the place of its parameter `server`, the options of its class: `Server`, or `Address`."""
    own = inspect.signature(command, eval_str=True)
    kind: type[Address] = own.parameters["server"].annotation
    hints = get_type_hints(kind, include_extras=True)
    options = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(kind)
    ]
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        parameters += options if parameter.name == "server" else [parameter]

    @functools.wraps(command)
    def with_server(**arguments: Any) -> None:
        server = kind(**{option.name: arguments.pop(option.name) for option in options})
        command(server=server, **arguments)

    with_server.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_server.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_server
