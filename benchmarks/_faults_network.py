"""A network that loses every packet: a server behind a link of its own, in a network namespace."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks._setup import BenchmarkError

__all__ = ["Link"]

_NAMESPACE, _HERE, _THERE = "rewardserve", "rewardserve0", "rewardserve1"
_CLIENT, _SERVER = "198.18.0.1", "198.18.0.2"
"""Addresses of the network that is set aside for benchmarks (RFC 2544)."""

_CLONE_NEWNET = 0x40000000


class Link:
    """A link to a namespace of its own. Needs root, and iproute2.

    Attributes:
        address: IPv4 address of the other end.
    """

    address = _SERVER

    @classmethod
    @contextlib.contextmanager
    def made(cls) -> Iterator[Link]:
        """A link, removed in the end.

        Raises:
            BenchmarkError: This machine doesn't allow it.
        """
        _ip("netns", "add", _NAMESPACE)
        try:
            _ip("link", "add", _HERE, "type", "veth", "peer", "name", _THERE, "netns", _NAMESPACE)
            _ip("addr", "add", f"{_CLIENT}/30", "dev", _HERE)
            _ip("link", "set", _HERE, "up")
            _ip("-n", _NAMESPACE, "addr", "add", f"{_SERVER}/30", "dev", _THERE)
            _ip("-n", _NAMESPACE, "link", "set", "lo", "up")
            _ip("-n", _NAMESPACE, "link", "set", _THERE, "up")
            yield cls()
        finally:
            _ip("netns", "delete", _NAMESPACE)  # and with it the link

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and those that it starts meanwhile with what they start, are at the other end."""
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/proc/thread-self/ns/net").open() as before, Path(f"/run/netns/{_NAMESPACE}").open() as other:
            _enter(libc, other.fileno())
            try:
                yield
            finally:
                _enter(libc, before.fileno())

    def lose(self) -> None:
        """From now on nothing comes back from the other end: no answer, no acknowledgement, no refusal."""
        _ip("-n", _NAMESPACE, "route", "add", "blackhole", f"{_CLIENT}/32")

    def heal(self) -> None:
        """Ends that."""
        _ip("-n", _NAMESPACE, "route", "delete", "blackhole", f"{_CLIENT}/32")


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise BenchmarkError("losing packets needs iproute2. Remedy: install it") from error
    except subprocess.CalledProcessError as error:
        raise BenchmarkError(
            f"losing packets needs a network namespace: {error.stderr.strip()}. Remedy: run as root; one that a killed "
            f"run left behind goes with `ip netns delete {_NAMESPACE}`"
        ) from error


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise BenchmarkError(f"can't change the network namespace: {os.strerror(ctypes.get_errno())}")
