"""A padded ONNX model behind FastAPI: MODEL_FILE PORT PADDING."""

from __future__ import annotations

import sys
from typing import Any

import onnxruntime

from benchmarks.peers.apps._padded import Ids, serve


def main() -> None:
    """Loads the model for one thread, and serves it."""
    path, port, padding = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def score(ids: Ids, mask: Ids) -> Any:
        return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    serve(int(port), int(padding), score)


if __name__ == "__main__":
    main()
