"""How a connection is secured."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["TLS"]


@dataclass(frozen=True, kw_only=True)
class TLS:
    """How a client secures its connection. The files are PEM.

    Attributes:
        ca: Certificates of the authorities that the server's certificate may be signed by; None takes gRPC's own list
            of public ones.
        certificate: The client's certificate, with its chain, where the server asks for one (mutual TLS).
        key: Its private key.
        server_name: The name that the server's certificate is for, where that isn't the host of the address; of the
            first address where there are several.
    """

    ca: str | os.PathLike[str] | None = None
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together. Remedy: give both, or neither")
