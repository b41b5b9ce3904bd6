"""A torch callable behind PyTriton, as NeMo-Aligner serves reward models: CHECKPOINT GRPC_PORT HTTP_PORT METRICS_PORT.

The client pads, so that Triton can merge requests: it batches only what has equal shapes.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from transformers import AutoModelForSequenceClassification


def main() -> None:
    """Serves the model in bfloat16."""
    checkpoint, *ports = sys.argv[1:]
    grpc, http, metrics = map(int, ports)
    torch.set_num_threads(1)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()

    @batch  # type: ignore[untyped-decorator]
    def infer(tokens: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Padded ids [B, T] and their lengths [B, 1] -> rewards [B, 1]."""
        ids = torch.from_numpy(tokens.copy())
        mask = (torch.arange(ids.shape[1]) < torch.from_numpy(lengths.copy())).long()
        with torch.inference_mode():
            rewards = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return {"rewards": rewards.float().numpy()}

    with Triton(config=TritonConfig(grpc_port=grpc, http_port=http, metrics_port=metrics)) as triton:
        triton.bind(
            model_name="reward",
            infer_func=infer,
            inputs=[
                Tensor(name="tokens", dtype=np.int64, shape=(-1,)),
                Tensor(name="lengths", dtype=np.int64, shape=(1,)),
            ],
            outputs=[Tensor(name="rewards", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=32, batcher=DynamicBatcher(max_queue_delay_microseconds=1000)),
        )
        triton.serve()


if __name__ == "__main__":
    main()
