"""The model of transformers as it is, padded inputs, as ONNX: CHECKPOINT MODEL_FILE."""

from __future__ import annotations

import sys

import torch
from transformers import AutoModelForSequenceClassification


class _Logits(torch.nn.Module):
    """Only the output that is scored."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Ids and mask [B, T] -> rewards [B, 1]."""
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        return logits


def main() -> None:
    """Exports with dynamic batch and length."""
    checkpoint, path = sys.argv[1:]
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    batch, length = torch.export.Dim("batch", min=1, max=1024), torch.export.Dim("length", min=2, max=2048)
    ids = torch.full((2, 12), 40)
    torch.onnx.export(
        _Logits(model),
        (ids, torch.ones_like(ids)),
        path,
        input_names=["input_ids", "attention_mask"],
        output_names=["rewards"],
        dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
        dynamo=True,
    )


if __name__ == "__main__":
    main()
