from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import socket
from pathlib import Path
from typing import Any

import pytest
import rewardserve_server
from rewardserve import LaunchError
from rewardserve_server import Ports, ServeOptions, Tritonserver, command, reserve_ports


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"grpc_port": 65536}, "grpc_port must be between 0 and 65535, not 65536"),
        ({"metrics_port": -1}, "metrics_port must be between"),
        ({"grpc_port": 8000}, "must differ"),
        ({"host": "localhost"}, "host must be an IPv4 address"),
        ({"ready_timeout": 0.0}, "ready_timeout must be a positive"),
        ({"ready_timeout": float("inf")}, "ready_timeout must be a positive"),
        ({"extra_args": ("--grpc-port=9000",)}, "set --grpc-port by the option grpc_port"),
        ({"extra_args": ("--http-port", "9000")}, "set --http-port by the option http_port"),
        ({"extra_args": ("--grpc-use-ssl=true",)}, "set --grpc-use-ssl by the option tls_certificate"),
        ({"extra_args": ("--grpc-root-cert", "ca.pem")}, "set --grpc-root-cert by the option tls_client_ca"),
        ({"tls_certificate": Path("server.pem")}, "must be given together"),
        ({"tls_key": Path("server.key")}, "must be given together"),
        ({"tls_client_ca": Path("ca.pem")}, "tls_client_ca needs tls_certificate and tls_key"),
        ({"admin_key": ""}, "admin_key must consist of"),
        ({"admin_key": "two words"}, "admin_key must consist of"),
        ({"admin_key": "line\n"}, "admin_key must consist of"),
    ],
)
def test_invalid_options_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServeOptions(repository=Path("repository"), **fields)


def test_options_are_frozen() -> None:
    options = ServeOptions(repository=Path("repository"), grpc_port=0, http_port=0, metrics_port=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.grpc_port = 1  # type: ignore[misc]


def test_extra_args_come_last() -> None:
    options = ServeOptions(repository=Path("/r"), host="0.0.0.0", extra_args=("--exit-timeout-secs=3",))
    arguments = command(options, Tritonserver(Path("/bin/tritonserver"), Path("/backends")), Ports(1, 2, 3))
    assert arguments[0] == "/bin/tritonserver"
    assert arguments[-1] == "--exit-timeout-secs=3"
    assert {
        "--model-repository=/r",
        "--grpc-address=0.0.0.0",
        "--http-address=0.0.0.0",
        "--metrics-address=0.0.0.0",
        "--grpc-port=1",
        "--http-port=2",
        "--metrics-port=3",
        "--backend-directory=/backends",
    } <= set(arguments)


def test_stock_server_keeps_its_own_backend_directory() -> None:
    arguments = command(ServeOptions(repository=Path("/r")), Tritonserver(Path("/bin/tritonserver")), Ports(1, 2, 3))
    assert not [argument for argument in arguments if argument.startswith("--backend-directory")]


def test_free_ports_are_picked_and_given_ones_kept() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    ports = reserve_ports(ServeOptions(repository=Path("r"), grpc_port=0, http_port=free, metrics_port=0))
    assert ports.http_port == free
    assert len(set(ports)) == 3
    assert all(ports)


def test_port_in_use_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(LaunchError, match=f"127.0.0.1:{taken} can't be bound: Address already in use"):
            reserve_ports(ServeOptions(repository=Path("r"), grpc_port=taken, http_port=0, metrics_port=0))


def test_public_names_are_those_of_the_modules() -> None:
    found = pkgutil.iter_modules(rewardserve_server.__path__)
    names = [module.name for module in found if not module.ispkg]  # the gateway has names of its own
    modules = [importlib.import_module(f"rewardserve_server.{name}") for name in names]
    assert sorted(rewardserve_server.__all__) == sorted(name for module in modules for name in module.__all__)
