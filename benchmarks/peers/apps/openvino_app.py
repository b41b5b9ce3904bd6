"""An OpenVINO model behind FastAPI: MODEL_DIRECTORY PRECISION PORT PADDING."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import openvino  # type: ignore[import-not-found]

from benchmarks.peers.apps._padded import Ids, serve


def main() -> None:
    """Compiles the model for one thread, and serves it."""
    directory, precision, port, padding = sys.argv[1:]
    settings = {
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[precision],
        "INFERENCE_NUM_THREADS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(Path(directory) / "openvino_model.xml", "CPU", settings)

    def score(ids: Ids, mask: Ids) -> Any:
        return compiled({"input_ids": ids, "attention_mask": mask})[0]

    serve(int(port), int(padding), score)


if __name__ == "__main__":
    main()
