"""GRPO with TRL, rewards from a server: trains a policy, and compares the rewards that TRL logged with direct scores.

    python examples/grpo.py --policy Qwen/Qwen2.5-0.5B-Instruct --url localhost:8001 --steps 20

The reward model's chat template, exported with it, makes text of the conversations. Needs trl.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset
from rewardserve import RewardClient
from rewardserve.integrations.trl import RewardFunction
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

PROMPTS = Path(__file__).parent / "preferences.jsonl"


def train(policy: str, client: RewardClient, *, steps: int, output: Path) -> pd.DataFrame:
    """Trains a policy on the prompts of the demo's preferences.

    Args:
        policy: A causal language model with a chat template: a directory, or its name on the Hugging Face Hub.
        client: Of the served reward model.
        steps: Of the optimizer, with eight completions each.
        output: Where the trainer writes.

    Returns:
        TRL's own log of completions: columns `step`, `prompt`, `completion`, `reward`, `advantage`.
    """
    prompts = [json.loads(line)["prompt"] for line in PROMPTS.read_text().splitlines()]
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy),
        processing_class=AutoTokenizer.from_pretrained(policy),
        reward_funcs=[RewardFunction(client, name="reward")],
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": prompt}]} for prompt in prompts]),
        args=GRPOConfig(
            output_dir=str(output),
            max_steps=steps,
            per_device_train_batch_size=8,
            num_generations=8,
            max_completion_length=64,
            logging_steps=1,
            log_completions=True,
            num_completions_to_print=1,
            save_strategy="no",
            report_to=[],
            bf16=False,
        ),
    )
    trainer.train()
    return pd.concat([pd.read_parquet(file) for file in sorted((output / "completions").glob("*.parquet"))])


def compare(completions: pd.DataFrame, client: RewardClient) -> float:
    """The largest difference between a logged reward and a direct score of the logged conversation."""
    conversations = [
        [*prompt, *completion]
        for prompt, completion in zip(completions["prompt"], completions["completion"], strict=True)
    ]
    return float(np.abs(completions["reward"].to_numpy() - client.score_chat(conversations)).max())


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", required=True, help="a causal language model with a chat template")
    parser.add_argument("--url", default="localhost:8001", help="of the server")
    parser.add_argument("--model", default="reward", help="the reward model's name there")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    with RewardClient(options.url, model=options.model) as client, tempfile.TemporaryDirectory() as directory:
        completions = train(options.policy, client, steps=options.steps, output=Path(directory))
        difference = compare(completions, client)
    means = completions.groupby("step")["reward"].mean()
    print(
        f"{len(completions)} completions in {len(means)} steps; mean reward {means.iloc[0]:.3f} to {means.iloc[-1]:.3f}"
    )
    print(f"largest difference between a logged reward and a direct score: {difference:.1e}")


if __name__ == "__main__":
    main()
