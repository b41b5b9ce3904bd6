"""Certificates for the tests of TLS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
import trustme


@dataclass(frozen=True)
class Identity:
    """PEM files of a certificate, its key, and the CA that signed it."""

    certificate: Path
    key: Path
    ca: Path


@dataclass(frozen=True)
class Certificates:
    """A server's and a client's identity from one CA, and a client's from another CA."""

    server: Identity
    client: Identity
    stranger: Identity


def make_certificates(directory: Path) -> Certificates:
    """Makes new ones; the server's is good for localhost, 127.0.0.1 and 127.0.0.2."""
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(str(directory / "ca.pem"))
    other.cert_pem.write_to_path(str(directory / "other-ca.pem"))

    def issue(name: str, issuer: trustme.CA, ca_file: str, *hosts: str) -> Identity:
        leaf = issuer.issue_cert(*hosts)
        identity = Identity(directory / f"{name}.pem", directory / f"{name}.key", directory / ca_file)
        leaf.private_key_pem.write_to_path(str(identity.key))
        for pem in leaf.cert_chain_pems:
            pem.write_to_path(str(identity.certificate), append=True)
        return identity

    return Certificates(
        server=issue("server", ca, "ca.pem", "localhost", "127.0.0.1", "127.0.0.2"),
        client=issue("client", ca, "ca.pem", "trainer.example.org"),
        stranger=issue("stranger", other, "other-ca.pem", "stranger.example.org"),
    )


def channel_credentials(ca: Path, identity: Identity | None = None) -> grpc.ChannelCredentials:
    """What a gRPC client needs to trust `ca`, and to show `identity`."""
    return grpc.ssl_channel_credentials(
        ca.read_bytes(),
        identity and identity.key.read_bytes(),
        identity and identity.certificate.read_bytes(),
    )
