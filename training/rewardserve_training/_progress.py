"""How far a training is, told while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["ProgressCallback", "TrainProgress"]


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """Told after every update, and once more for every line of the log.

    Attributes:
        step: Updates done.
        steps: Updates in all.
        loss: Mean since the last line of the log; None, as the next two, between lines.
        accuracy: Share of the pairs trained on whose chosen reward is the higher one, likewise.
        margin: Mean of chosen minus rejected reward, likewise.
    """

    step: int
    steps: int
    loss: float | None = None
    accuracy: float | None = None
    margin: float | None = None


class ProgressCallback(TrainerCallback):
    """Tells `progress` in the main process, in place of the trainer's own bar, which prints dicts.

    Args:
        progress: Called with what is known.
    """

    def __init__(self, progress: Callable[[TrainProgress], None]) -> None:
        self._progress = progress

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """See the base class."""
        if state.is_world_process_zero:
            self._progress(TrainProgress(step=state.global_step, steps=state.max_steps))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """See the base class."""
        # Evaluations and the summary at the end are logged, too; those have no plain `loss`.
        if state.is_world_process_zero and logs and "loss" in logs:
            told = {name: logs.get(name) for name in ("loss", "accuracy", "margin")}
            self._progress(TrainProgress(step=state.global_step, steps=state.max_steps, **told))
