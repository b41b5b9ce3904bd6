"""What runs inside the peers' environments: `python -m benchmarks.peers.apps.NAME`."""
