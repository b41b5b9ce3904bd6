"""A model of the Python backend that computes nothing."""
