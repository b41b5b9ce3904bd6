"""The command line of tritonserver, and its ports."""

from __future__ import annotations

import contextlib
import socket
from typing import NamedTuple

from rewardserve import LaunchError

from rewardserve_server._binary import Tritonserver
from rewardserve_server._options import ServeOptions
from rewardserve_server._restrictions import restriction_flags
from rewardserve_server._tls import tls_flags

__all__ = ["Ports", "command", "reserve_ports"]

# In-flight requests get this long at the end. A reward takes well under a second; Triton's default is 30.
_EXIT_TIMEOUT_SECS = 10

# Clients ping a quiet connection to notice that the server is gone. By default Triton takes pings within 5 minutes of
# each other for an attack, and closes the connection ("too_many_pings").
_KEEPALIVE = ("--grpc-keepalive-permit-without-calls=1", "--grpc-http2-min-recv-ping-interval-without-data=1000")

_EXPLICIT_CONTROL = ("--model-control-mode=explicit", "--load-model=*")


class Ports(NamedTuple):
    """The ports of one server, all different and none 0, as `ServeOptions` names them."""

    grpc_port: int
    http_port: int
    metrics_port: int


def reserve_ports(options: ServeOptions) -> Ports:
    """Checks that the ports of `options` are free, and picks free ones for those that are 0.

    Triton binds its ports only after loading the models. Without this check a port in use costs minutes, during
    which whatever listens there could be taken for the new server.

    Raises:
        LaunchError: A port is in use, or can't be bound.
    """
    with contextlib.ExitStack() as held:

        def bind(host: str, port: int) -> int:
            listener = held.enter_context(socket.socket())
            # As Triton binds it: connections of a server that just ended don't matter.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
                listener.listen()
            except OSError as error:
                raise LaunchError(
                    f"{host}:{port} can't be bound: {error.strerror}. "
                    "Remedy: stop what listens there, or choose another port (0 picks a free one)"
                ) from error
            return int(listener.getsockname()[1])

        # The fixed ones first, so that no picked one takes theirs.
        wanted = {
            "grpc_port": (options.host, options.grpc_port),
            "http_port": (options.http_host, options.http_port),
            "metrics_port": (options.http_host, options.metrics_port),
        }
        return Ports(**{name: bind(*at) for name, at in sorted(wanted.items(), key=lambda item: not item[1][1])})


def command(options: ServeOptions, server: Tritonserver, ports: Ports) -> list[str]:
    """The argument list that starts `server`; `options.extra_args` come last, and the last of a flag wins."""
    backends = [] if server.backend_directory is None else [f"--backend-directory={server.backend_directory}"]
    return [
        str(server.path),
        f"--model-repository={options.repository.absolute()}",
        f"--grpc-address={options.host}",
        f"--http-address={options.http_host}",
        f"--metrics-address={options.http_host}",
        f"--grpc-port={ports.grpc_port}",
        f"--http-port={ports.http_port}",
        f"--metrics-port={ports.metrics_port}",
        f"--exit-timeout-secs={_EXIT_TIMEOUT_SECS}",
        # Exported configurations are complete. To complete one, Triton would run the model's code an extra time:
        # ready after 1.5 s instead of 0.2 s, even for a model that does nothing.
        "--disable-auto-complete-config",
        *(_EXPLICIT_CONTROL if options.model_control == "explicit" else ()),
        *backends,
        *_KEEPALIVE,
        *tls_flags(options),
        *restriction_flags(options.admin_key, options.extra_args),
        *options.extra_args,
    ]
