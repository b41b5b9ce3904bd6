"""TRL's PPOTrainer, with the reward model on a server and in its own process: the same run.

TRL has it up to 1.12. Later versions keep `get_reward`, through which it calls reward models: see test_reward_module.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from packaging.version import Version
from rewardserve import RewardClient
from rewardserve.integrations.trl import RewardModule
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForSequenceClassification

pytestmark = [
    pytest.mark.timeout(900),  # TRL collects garbage many times a step
    pytest.mark.filterwarnings("ignore"),  # of TRL's and its dependencies' own code
    pytest.mark.skipif(Version(version("trl")) >= Version("1.13"), reason="TRL 1.13 removed PPOTrainer"),
]

STEPS = 20


def scores(policy: Path, reward_model: torch.nn.Module, output: Path) -> list[float]:
    """The trainer's log of a run."""
    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    torch.manual_seed(0)  # of the value model's head, and of the responses
    tokenizer = AutoTokenizer.from_pretrained(policy, padding_side="left")
    prompts = ["the reward of ", "a good", "is higher than that of a bad one ", "answer "] * 2
    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir=str(output),
            total_episodes=8 * STEPS,
            per_device_train_batch_size=8,
            num_mini_batches=2,
            num_ppo_epochs=1,
            response_length=12,
            stop_token="eos",
            num_sample_generations=0,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            bf16=False,
            use_cpu=True,
            disable_tqdm=True,
            seed=3,
        ),
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(policy),
        ref_model=AutoModelForCausalLM.from_pretrained(policy),
        reward_model=reward_model,
        value_model=LlamaForSequenceClassification.from_pretrained(policy, num_labels=1),
        train_dataset=Dataset.from_list([tokenizer(prompt) for prompt in prompts]),
    )
    trainer.train()
    return [entry["objective/scores"] for entry in trainer.state.log_history if "objective/scores" in entry]


def first_run(ids: list[int], mask: list[bool]) -> list[int]:
    """What TRL scores: the tokens up to the first padding behind them; a policy may write padding, too, and go on."""
    start = mask.index(True)
    return ids[start : mask.index(False, start) if False in mask[start:] else None]


def test_a_run_is_the_same(
    policy: Path, chat_client: RewardClient, chat_model: LlamaForSequenceClassification, tmp_path: Path
) -> None:
    module = RewardModule(chat_client, AutoTokenizer.from_pretrained(policy))
    seen: list[list[float]] = []

    def score_directly(_: torch.nn.Module, __: object, given: dict[str, torch.Tensor], ___: object) -> None:
        rows = zip(given["input_ids"].tolist(), given["attention_mask"].tolist(), strict=True)
        seen.append(chat_client.score_tokens([first_run(ids, mask) for ids, mask in rows]).tolist())

    module.served.register_forward_hook(score_directly, with_kwargs=True)
    served = scores(policy, module, tmp_path / "served")
    assert len(served) == STEPS
    assert len({round(score, 3) for score in served}) > STEPS // 2, "responses differ"
    assert served == pytest.approx([sum(rewards) / len(rewards) for rewards in seen], abs=1e-6)
    assert served == pytest.approx(scores(policy, chat_model, tmp_path / "in_process"), abs=1e-4)
