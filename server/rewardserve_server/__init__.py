"""Finding and starting tritonserver."""

from rewardserve_server._binary import Tritonserver, find_tritonserver
from rewardserve_server._command import Ports, command, reserve_ports
from rewardserve_server._control import LoadedVersion, ServerControl
from rewardserve_server._options import ServeOptions
from rewardserve_server._process import TritonProcess
from rewardserve_server._repository import check_backends, required_backends
from rewardserve_server._restrictions import GRPC_ADMIN_HEADER, HTTP_ADMIN_HEADER
from rewardserve_server._serve import serve

__all__ = [
    "GRPC_ADMIN_HEADER",
    "HTTP_ADMIN_HEADER",
    "LoadedVersion",
    "Ports",
    "ServeOptions",
    "ServerControl",
    "TritonProcess",
    "Tritonserver",
    "check_backends",
    "command",
    "find_tritonserver",
    "required_backends",
    "reserve_ports",
    "serve",
]
