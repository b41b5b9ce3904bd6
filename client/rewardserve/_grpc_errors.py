"""gRPC's status codes, translated into our errors: the one place where that happens."""

from __future__ import annotations

import grpc

from rewardserve._errors import (
    DeadlineExceededError,
    ModelNotFoundError,
    RequestRejectedError,
    ServerError,
    ServerOverloadedError,
    ServerUnavailableError,
)

__all__ = ["translate"]

_CHECK_ADDRESS = (
    "Remedy: check the address (host:port without http://; the gRPC port is 8001 by default) and that the server runs"
)
_CHECK_MODEL = "Remedy: check the model's name and version, and the server's log for why it isn't loaded"
_SLOW = "Remedy: raise the client's timeout, or add server instances"
_CREDENTIALS = "Remedy: pass the client the server's credentials: tls=, token= or headers="
_RESTART = (
    "The model's process ended on the server, and Triton doesn't start it again. Remedy: restart the server, as "
    "`rewardserve serve` does by itself, and see its log"
)
_TLS = "Remedy: check the client's tls=: the authority, the server's name, and whether the server speaks TLS at all"
_HANGS_UP = (
    "The server ends connections: it wants TLS or a client's certificate, or is being restarted. Remedy: check the "
    "client's tls=, and that the server runs"
)
_MODEL_CONTROL = "Remedy: start the server with `rewardserve serve --model-control explicit`, or restart it"
_SERVER_LOG = "Remedy: see the server's log"

_BY_CODE: dict[grpc.StatusCode, tuple[type[ServerError], str]] = {
    grpc.StatusCode.UNAVAILABLE: (ServerUnavailableError, _CHECK_ADDRESS),
    grpc.StatusCode.UNIMPLEMENTED: (ServerUnavailableError, f"That isn't a Triton server. {_CHECK_ADDRESS}"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (DeadlineExceededError, _SLOW),
    grpc.StatusCode.NOT_FOUND: (ModelNotFoundError, _CHECK_MODEL),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (ServerOverloadedError, "Remedy: send less at once, or add server instances"),
    grpc.StatusCode.UNAUTHENTICATED: (RequestRejectedError, _CREDENTIALS),
    grpc.StatusCode.PERMISSION_DENIED: (RequestRejectedError, _CREDENTIALS),
    grpc.StatusCode.INVALID_ARGUMENT: (
        RequestRejectedError,
        "Remedy: use the same rewardserve version for export and client; make a new client, if the server serves "
        "another model by now",
    ),
    grpc.StatusCode.CANCELLED: (
        ServerUnavailableError,
        "The server gave the request up, most likely because it is ending. Remedy: see its log",
    ),
}

# gRPC's own words for a call that was cancelled here.
_CANCELLED_HERE = ("Locally cancelled", "Channel closed")
_CLOSED = "The call was cancelled, or the client closed, before the answer came. Remedy: score again with an open one"

# A model that the server knows, and is loading, or unloading as it ends.
_NOT_LOADED = "has no available versions"

# Triton answers UNAVAILABLE and INTERNAL for much: only its message tells.
_BY_MESSAGE: tuple[tuple[str, type[ServerError], str], ...] = (
    ("Exceeds maximum queue size", ServerOverloadedError, "Remedy: send less at once, or add server instances"),
    ("Request timeout expired", ServerOverloadedError, "Remedy: send less at once, or add server instances"),
    ("is not at ready state", ModelNotFoundError, _CHECK_MODEL),
    (_NOT_LOADED, ModelNotFoundError, _CHECK_MODEL),
    ("explicit model load / unload is not allowed", RequestRejectedError, _MODEL_CONTROL),
    ("expecting header", RequestRejectedError, _CREDENTIALS),
    ("CERTIFICATE_VERIFY_FAILED", ServerUnavailableError, _TLS),
    ("Hostname Verification Check failed", ServerUnavailableError, _TLS),
    ("WRONG_VERSION_NUMBER", ServerUnavailableError, _TLS),
    ("Socket closed", ServerUnavailableError, _HANGS_UP),
    ("tub process", ServerUnavailableError, _RESTART),
    ("Failed to retrieve the response error", ServerUnavailableError, _RESTART),
    ("Failed to process the requests", ServerUnavailableError, _RESTART),
)

_MESSAGE_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)

# What passes by itself: a queue that is full, a server or a model that is being restarted.
_PASSING = (ServerUnavailableError, ServerOverloadedError)


def translate(code: grpc.StatusCode, details: str | None, *, url: str, model: str) -> ServerError:
    """The error of ours for a failed call.

    Args:
        code: The call's status.
        details: The server's message, or gRPC's own.
        url: The server's address, for the message.
        model: The model that was asked for, for the message.
    """
    details = (details or "no details").rstrip(". ")
    error, remedy = _BY_CODE.get(code, (RequestRejectedError, _SERVER_LOG))
    if code is grpc.StatusCode.CANCELLED and details.startswith(_CANCELLED_HERE):
        error, remedy = ServerError, _CLOSED
    if code in _MESSAGE_CODES:
        for part, by_message, by_message_remedy in _BY_MESSAGE:
            if part in details:
                error, remedy = by_message, by_message_remedy
    not_ready = error is ModelNotFoundError and (code is grpc.StatusCode.UNAVAILABLE or _NOT_LOADED in details)
    retriable = not_ready or (issubclass(error, _PASSING) and code is not grpc.StatusCode.UNIMPLEMENTED)
    return error(f"{url}, model {model!r}: {code.name}: {details}. {remedy}", retriable=retriable)
