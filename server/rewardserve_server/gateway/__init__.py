"""The HTTP gateway: for trainers that call a reward model over HTTP, in OpenRLHF's and vLLM's form."""

from rewardserve_server.gateway._app import create_app
from rewardserve_server.gateway._options import GatewayOptions
from rewardserve_server.gateway._run import run_gateway

__all__ = ["GatewayOptions", "create_app", "run_gateway"]
