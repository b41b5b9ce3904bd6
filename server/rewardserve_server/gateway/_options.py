"""What a gateway is started with."""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import re

__all__ = ["GatewayOptions"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatewayOptions:
    """Where a gateway listens, whom it lets in, and how much it takes at once.

    Attributes:
        host: IPv4 address to bind to.
        port: Port, 0 to 65535; 0 picks a free one.
        token: What callers must send in `Authorization`; None lets everyone in.
        timeout: Seconds that one call may take. Below the 180 after which OpenRLHF's caller gives a call up, so that
            it hears why.
        max_body_bytes: Size of the largest body that is read.
        max_concurrent: Calls under way at which further ones are turned away.

    Raises:
        ValueError: A field has no valid value.
    """

    host: str = "127.0.0.1"
    port: int = 5000
    token: str | None = None
    timeout: float = 170.0
    max_body_bytes: int = 64 << 20
    max_concurrent: int = 4096

    def __post_init__(self) -> None:
        try:
            ipaddress.IPv4Address(self.host)
        except ValueError as error:
            raise ValueError(f"host must be an IPv4 address such as 127.0.0.1 or 0.0.0.0, not {self.host!r}") from error
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be between 0 and 65535, not {self.port}")
        if self.token is not None and not re.fullmatch(r"[!-~]+", self.token):
            raise ValueError("token must be of one or more visible ASCII characters, without spaces")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise ValueError(f"timeout must be a positive number of seconds, not {self.timeout}")
        for name in ("max_body_bytes", "max_concurrent"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
