"""`policy`: what a served reward model does to a policy that GRPO trains on it."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks._plots import plot_rewards
from benchmarks._setup import MODEL, Setup, say
from benchmarks._training import smollm2

if TYPE_CHECKING:
    from rewardserve import RewardClient

__all__ = ["policy"]

PROMPTS = Path(__file__).parent.parent / "examples" / "preferences.jsonl"
_HELD_OUT, _SAMPLES = 16, 8
_STEPS, _PROMPTS, _COMPLETIONS, _TOKENS, _LEARNING_RATE = 60, 2, 8, 32, 2e-4
_LAYERS = 6
"""The policy's last layers, which are trained: a step in seconds, without a GPU."""


def policy(setup: Setup) -> dict[str, Any]:
    """Serves --checkpoint and trains SmolLM2-135M-Instruct on its rewards, with TRL's GRPOTrainer."""
    from rewardserve import RewardClient
    from rewardserve_server import ServeOptions, TritonProcess
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    directory = smollm2()
    model = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    prompts = _prompts()
    held_out, train = prompts[:_HELD_OUT], prompts[_HELD_OUT:]
    options = ServeOptions(repository=setup.repository, grpc_port=0, http_port=0, metrics_port=0)
    set_seed(0)
    with TritonProcess(options) as server:
        server.wait_until_ready()
        with RewardClient(server.grpc_url, model=MODEL) as client:
            before = _mean(_sampled(model, tokenizer, held_out, client))
            say(f"policy: held-out prompts before {before['mean']:.3f}")
            started = time.monotonic()
            curve = _trained(model, tokenizer, train, client)
            seconds = time.monotonic() - started
            after = _mean(_sampled(model, tokenizer, held_out, client))
    if setup.plots is not None:
        title = f"GRPO on served rewards, {_COMPLETIONS} completions of each of {_PROMPTS} prompts a step"
        plot_rewards(curve, (before["mean"], after["mean"]), title, setup.plots / "policy.png")
    return {
        "what": (
            f"SmolLM2-135M-Instruct, trained by GRPOTrainer with RewardFunction: {_STEPS} steps of {_COMPLETIONS} "
            f"completions of each of {_PROMPTS} prompts, at most {_TOKENS} tokens; its last {_LAYERS} layers, in bf16, "
            f"by AdamW at {_LEARNING_RATE}. held_out: {_SAMPLES} completions of each of {_HELD_OUT} prompts that it "
            "isn't trained on, before and after, mean reward and its standard error"
        ),
        "held_out": {"before": before, "after": after},
        "first_ten_steps": float(np.mean(curve[:10])),
        "last_ten_steps": float(np.mean(curve[-10:])),
        "seconds": seconds,
        "mean_reward_of_each_step": curve,
    }


def _prompts() -> list[list[dict[str, str]]]:
    """Those of the demo's preferences, each once."""
    texts = dict.fromkeys(json.loads(line)["prompt"] for line in PROMPTS.read_text(encoding="utf-8").splitlines())
    return [[{"role": "user", "content": text}] for text in texts]


def _sampled(model: Any, tokenizer: Any, prompts: list[Any], client: RewardClient) -> npt.NDArray[np.float32]:
    """Rewards of sampled completions."""
    inputs = tokenizer.apply_chat_template(
        prompts, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    model.eval()
    output = model.generate(
        **inputs, max_new_tokens=_TOKENS, do_sample=True, top_k=0, temperature=1.0, num_return_sequences=_SAMPLES
    )
    texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return client.score_chat(
        [[*prompts[index // _SAMPLES], {"role": "assistant", "content": text}] for index, text in enumerate(texts)]
    )


def _mean(rewards: npt.NDArray[np.float32]) -> dict[str, float]:
    return {"mean": float(rewards.mean()), "standard_error": float(rewards.std(ddof=1) / np.sqrt(rewards.size))}


def _trained(model: Any, tokenizer: Any, prompts: list[Any], client: RewardClient) -> list[float]:
    """Trains the policy in place; the mean reward of each step."""
    import torch
    from datasets import Dataset
    from rewardserve.integrations.trl import RewardFunction
    from trl import GRPOConfig, GRPOTrainer

    reward: Any = RewardFunction(client)
    model.requires_grad_(False)
    for layer in model.model.layers[-_LAYERS:]:
        layer.requires_grad_(True)
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=[reward],
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        args=GRPOConfig(
            output_dir=tempfile.gettempdir(),  # nothing is saved
            max_steps=_STEPS,
            per_device_train_batch_size=_PROMPTS * _COMPLETIONS,
            num_generations=_COMPLETIONS,
            max_completion_length=_TOKENS,
            learning_rate=_LEARNING_RATE,
            lr_scheduler_type="constant",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            gradient_checkpointing=False,
            bf16=True,
            use_cpu=not torch.accelerator.is_available(),
            seed=0,
        ),
    )
    with redirect_stdout(sys.stderr):  # stdout is for the document
        trainer.train()
    return [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
