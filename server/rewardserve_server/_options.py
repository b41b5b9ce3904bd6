"""What a server is started with."""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import secrets
from pathlib import Path
from typing import Literal, get_args

from rewardserve_server._restrictions import check_admin_key

__all__ = ["ServeOptions"]

ModelControl = Literal["none", "explicit"]

# These have fields. Set behind the fields' back, readiness would be asked at a port that nobody listens on, and TLS
# would leave HTTP open beside it.
_OWN_FLAGS = {
    "--grpc-port": "grpc_port",
    "--http-port": "http_port",
    "--metrics-port": "metrics_port",
    "--grpc-use-ssl": "tls_certificate",
    "--grpc-use-ssl-mutual": "tls_client_ca",
    "--grpc-server-cert": "tls_certificate",
    "--grpc-server-key": "tls_key",
    "--grpc-root-cert": "tls_client_ca",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How tritonserver is found and started.

    Attributes:
        repository: The Triton model repository: a directory of model directories.
        host: IPv4 address that gRPC is bound to; HTTP and metrics too, but see `http_host`.
        grpc_port: Port of the gRPC service, 0 to 65535; 0 picks a free one.
        http_port: Port of the HTTP service, likewise.
        metrics_port: Port of the Prometheus metrics, likewise.
        tls_certificate: PEM file of the server's certificate chain: gRPC speaks TLS only. None: no TLS.
        tls_key: PEM file of the certificate's private key, not encrypted.
        tls_client_ca: PEM file of the CA that must have signed a client's certificate. None: clients need none.
        admin_key: Key that model repository, shared memory, trace and logging requests must carry, in the header
            `GRPC_ADMIN_HEADER` or `HTTP_ADMIN_HEADER`; by default a new random one.
        model_control: `explicit` lets whoever has the admin key load and unload models while the server runs; `none`
            nobody. All models are loaded at the start in either.
        tritonserver: The tritonserver binary; None looks on PATH, then for the embedded one.
        extra_args: Arguments for tritonserver, in its own syntax; they come last, so they win. Protocols that they
            restrict keep the header and key given there. Keep HTTP's health endpoint: readiness is asked there.
        ready_timeout: Seconds that loading the models may take.

    Raises:
        ValueError: A field has no valid value.
    """

    repository: Path
    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    admin_key: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    model_control: ModelControl = "none"
    tritonserver: Path | None = None
    extra_args: tuple[str, ...] = ()
    ready_timeout: float = 600.0

    def __post_init__(self) -> None:
        try:
            ipaddress.IPv4Address(self.host)
        except ValueError as error:
            raise ValueError(f"host must be an IPv4 address such as 127.0.0.1 or 0.0.0.0, not {self.host!r}") from error
        ports = (self.grpc_port, self.http_port, self.metrics_port)
        for name, port in zip(("grpc_port", "http_port", "metrics_port"), ports, strict=True):
            if not 0 <= port <= 65535:
                raise ValueError(f"{name} must be between 0 and 65535, not {port}")
        fixed = [port for port in ports if port]
        if len(set(fixed)) != len(fixed):
            raise ValueError(f"grpc_port, http_port and metrics_port must differ, not {ports}")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key must be given together")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key: clients show theirs over TLS only")
        if self.model_control not in get_args(ModelControl):
            raise ValueError(f"model_control must be one of {', '.join(get_args(ModelControl))}")
        check_admin_key(self.admin_key)
        for argument in self.extra_args:
            flag = argument.partition("=")[0]
            if flag in _OWN_FLAGS:
                raise ValueError(f"set {flag} by the option {_OWN_FLAGS[flag]}, not in extra_args")
        if not (math.isfinite(self.ready_timeout) and self.ready_timeout > 0):
            raise ValueError(f"ready_timeout must be a positive number of seconds, not {self.ready_timeout}")

    @property
    def http_host(self) -> str:
        """IPv4 address that HTTP and metrics are bound to: `host`, but with TLS, which they can't speak, loopback."""
        if self.tls_certificate is None or ipaddress.IPv4Address(self.host).is_loopback:
            return self.host
        return "127.0.0.1"
