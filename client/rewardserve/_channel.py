"""The gRPC channel: where it leads, how it is secured, and what gRPC itself does about faults."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from rewardserve._errors import ServerUnavailableError
from rewardserve._tls import TLS

__all__ = ["Channel", "call_metadata", "open_channel"]

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "inference.GRPCInferenceService"}],
            # Scoring has no effects, so a request may be sent again whatever became of it: at once, to another replica.
            # gRPC makes at most 5 attempts, and its last answer hides theirs; a fault that lasts is up to `_transfer`.
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.02s",
                "maxBackoff": "0.1s",
                "backoffMultiplier": 5,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # A server that fails half of the requests isn't asked more often by this.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.5},
}
"""No healthCheckConfig: Triton implements grpc.health.v1's Check, but not Watch, which gRPC's client needs."""

_OPTIONS: list[tuple[str, Any]] = [
    # gRPC receives 4 MiB by default, less than a large tokenizer.json. The server sets limits of its own.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A larger request isn't kept, and couldn't be sent again.
    ("grpc.per_rpc_retry_buffer_size", 64 << 20),
    # A server that comes back is found soon: by default gRPC looks after up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.dns_min_time_between_resolutions_ms", 3_000),
    # While calls are under way, a connection whose other end is gone or hangs is given up after 30 + 10 seconds.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # While one of gRPC's other pings (they measure bandwidth) has no answer, none is sent to keep alive: 60 by default.
    ("grpc.http2.ping_timeout_ms", 10_000),
]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """An open channel.

    Attributes:
        channel: gRPC's.
        url: Where it leads, for messages.
        replicas: Servers behind it, as far as is known when it is opened.
    """

    channel: Any
    url: str
    replicas: int


def open_channel(url: str | Sequence[str], tls: TLS | None) -> Channel:
    """Opens a channel; nothing is sent yet.

    Args:
        url: `host:port`, or several of them, or gRPC's name of a group of servers (`dns:///host:port`).
        tls: None sends everything in the clear.

    Raises:
        ServerUnavailableError: A host of several has no address.
        OSError: A file of `tls` can't be read.
        ValueError: No address is given.
    """
    urls = [url] if isinstance(url, str) else list(url)
    if not urls:
        raise ValueError("no address is given. Remedy: pass host:port")
    if len(urls) == 1:
        target, replicas = urls[0], _count(urls[0])
    else:
        target, replicas = _join(urls), len(urls)
    options = list(_OPTIONS)
    if tls is None:
        channel = grpc.insecure_channel(target, options=options)
    else:
        name = tls.server_name or (_host(urls[0]) if len(urls) > 1 else None)
        if name is not None:
            options += [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
        channel = grpc.secure_channel(target, _credentials(tls), options=options)
    return Channel(channel=channel, url=", ".join(urls), replicas=replicas)


def call_metadata(token: str | None, headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """What each call carries besides its message.

    Args:
        token: A bearer token.
        headers: Names and values, such as Triton's `triton-grpc-protocol-…` of a restricted protocol.

    Raises:
        ValueError: A header can't be sent.
    """
    given = dict(headers or {})
    if token is not None:
        given["authorization"] = f"Bearer {token}"
    for name, value in given.items():
        if not (name.isascii() and value.isascii() and value.isprintable()):
            raise ValueError(f"header {name!r} holds what gRPC can't send. Remedy: printable ASCII, without newlines")
    return tuple((name.lower(), value) for name, value in given.items())


def _credentials(tls: TLS) -> Any:
    ca, key, certificate = (
        None if path is None else Path(path).read_bytes() for path in (tls.ca, tls.key, tls.certificate)
    )
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=certificate)


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _count(url: str) -> int:
    """Servers behind one name: each address of a `dns:///` name is one."""
    if not url.startswith("dns:"):
        return 1
    try:
        return len(_addresses(url.rpartition("/")[2], socket.AF_UNSPEC))
    except OSError:  # gRPC resolves it again, and says what is wrong
        return 1


def _join(urls: Sequence[str]) -> str:
    """Several servers as one gRPC target. It takes no names, only addresses, all of one family."""
    for scheme, family in (("ipv4", socket.AF_INET), ("ipv6", socket.AF_INET6)):
        try:
            return f"{scheme}:" + ",".join(_addresses(url, family)[0] for url in urls)
        except OSError as error:
            problem = error
    raise ServerUnavailableError(
        f"{', '.join(urls)}: not every host has an address of one family ({problem}). Remedy: check the addresses "
        "(host:port without http://)"
    )


def _addresses(address: str, family: socket.AddressFamily) -> list[str]:
    host, port = _host(address), address.rpartition(":")[2]
    found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    unique = dict.fromkeys(entry[4][0] for entry in found)
    return [f"[{each}]:{port}" if ":" in str(each) else f"{each}:{port}" for each in unique]
