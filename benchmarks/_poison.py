"""A token whose embedding isn't finite, as after a training that diverged."""

from __future__ import annotations

from pathlib import Path

__all__ = ["poison"]


def poison(graph: Path, token: int) -> None:
    """Makes every reward of a sequence that holds the token NaN.

    Args:
        graph: An exported float32 `model.onnx`; its weights lie beside it, and are changed in place.
        token: Its id.
    """
    import numpy as np
    import onnx

    model = onnx.load(graph, load_external_data=False)
    (embedding,) = (tensor for tensor in model.graph.initializer if "embed_tokens" in tensor.name)
    place = {entry.key: entry.value for entry in embedding.external_data}
    weights = np.memmap(
        graph.with_name(place["location"]),
        np.float32,
        "r+",
        offset=int(place.get("offset", 0)),
        shape=tuple(embedding.dims),
    )
    weights[token] = np.inf
    weights.flush()
