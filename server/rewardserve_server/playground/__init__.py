"""The playground: a local web page to look at rewards."""

from rewardserve_server.playground._run import run_playground

__all__ = ["run_playground"]
