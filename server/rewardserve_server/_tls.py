"""The server's certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

from rewardserve import LaunchError

from rewardserve_server._options import ServeOptions

__all__: list[str] = []


def check_tls(options: ServeOptions) -> None:
    """Refuses files that no client could connect with; Triton would notice after loading the models, or never.

    Raises:
        LaunchError: A file can't be read or holds no PEM of its kind, or the key isn't the certificate's.
    """
    if options.tls_certificate is None or options.tls_key is None:
        return
    for path in (options.tls_certificate, options.tls_key, options.tls_client_ca):
        if path is not None:
            _check_readable(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.tls_certificate, options.tls_key, password=_refuse_encrypted_key)
    except ssl.SSLError as error:
        raise LaunchError(
            f"{options.tls_certificate} and {options.tls_key} aren't a certificate and its key: {error}. "
            "Remedy: give PEM files, the server's certificate first in its chain, and the private key it was made for"
        ) from error
    if options.tls_client_ca is not None:
        try:
            context.load_verify_locations(options.tls_client_ca)
        except ssl.SSLError as error:
            raise LaunchError(
                f"{options.tls_client_ca} holds no CA certificate: {error}. Remedy: give the PEM file of the CA that "
                "signs the clients' certificates"
            ) from error


def tls_flags(options: ServeOptions) -> list[str]:
    """The flags that turn on TLS for gRPC, or none."""
    if options.tls_certificate is None:
        return []
    flags = [f"--grpc-server-cert={options.tls_certificate}", f"--grpc-server-key={options.tls_key}"]
    if options.tls_client_ca is None:
        return ["--grpc-use-ssl=true", *flags]
    return ["--grpc-use-ssl-mutual=true", *flags, f"--grpc-root-cert={options.tls_client_ca}"]


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise LaunchError(f"{path} can't be read: {error.strerror}. Remedy: check its path and permissions") from error


def _refuse_encrypted_key() -> str:
    # Without this callback OpenSSL would ask at the terminal.
    raise LaunchError(
        "the TLS key is encrypted, and tritonserver can't decrypt it. Remedy: openssl pkey -in KEY -out NEW"
    )
