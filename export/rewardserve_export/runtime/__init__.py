"""What runs an exported graph.

An export copies these files beside the Python backend's `model.py`, and its parity check runs them, too: what is
checked is what is served. So they import numpy, onnxruntime or torch, and nothing of ours but each other.
"""
