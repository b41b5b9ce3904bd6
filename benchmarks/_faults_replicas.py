"""Two replicas under many callers, one of which is killed and comes back, again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._faults_callers import CALLERS, TOLERANCE, Calls, by_tasks, by_threads, unnoticed_swaps
from benchmarks._faults_models import FaultModels, rollouts
from benchmarks._faults_replica import Replica
from benchmarks._setup import say

__all__ = ["killed_replicas"]

KILLS = 3
RESPONSES = 4
_POLL_SECONDS = 0.02


def killed_replicas(models: FaultModels, texts: int) -> dict[str, Any]:
    """Threads, then tasks, against two replicas; the rewards compared with those of one server left in peace."""
    requests = rollouts(texts // RESPONSES, RESPONSES, seed=0)
    undisturbed = Calls(requests)
    say(f"faults: {texts} texts, undisturbed")
    with Replica(models.plain) as replica:
        by_threads(replica.url, undisturbed)
    expected = undisturbed.rewards()
    result: dict[str, Any] = {
        "what": (
            f"{texts} texts in calls of {RESPONSES} (responses to one prompt) by {CALLERS} callers that share a client "
            f"of two replicas, one thread each; {KILLS} times, evenly over the calls, one replica, then the other, is "
            "killed by SIGKILL and started again on its port. A reward is wrong if it differs by more than "
            f"{TOLERANCE} from what one undisturbed server gave; a stall is a time in which no caller got an answer"
        ),
        "probability_that_a_swap_is_not_noticed": unnoticed_swaps(expected),
        "one_undisturbed_server": undisturbed.judged(expected),
    }
    for name, drive in (("threads", by_threads), ("tasks", by_tasks)):
        say(f"faults: {texts} texts, {KILLS} kills, {name}")
        result[name] = _disturbed(models.plain, Calls(requests), drive, expected)
    return result


def _disturbed(
    repository: Path, calls: Calls, drive: Callable[[list[str], Calls], None], expected: list[Any]
) -> dict[str, Any]:
    kills: list[dict[str, Any]] = []
    with Replica(repository) as one, Replica(repository) as other:
        killer = threading.Thread(target=_kill_in_turn, args=([one, other], calls, kills), daemon=True)
        killer.start()
        drive([one.url, other.url], calls)
        killer.join()
    return {**calls.judged(expected), "kills": kills}


def _kill_in_turn(replicas: list[Replica], calls: Calls, kills: list[dict[str, Any]]) -> None:
    for number in range(KILLS):
        replica, due = replicas[number % 2], len(calls.texts) * (number + 1) // (KILLS + 1)
        while len(calls.answers) < due:
            time.sleep(_POLL_SECONDS)
        killed = time.monotonic()
        replica.kill()
        replica.start()
        ready = time.monotonic()
        kill = {"at_call": due, "restarted_after_seconds": ready - killed, "took_part_after_seconds": None}
        kills.append(kill)
        while len(calls.answers) < len(calls.texts):
            if replica.inferences():
                kill["took_part_after_seconds"] = time.monotonic() - ready
                break
            time.sleep(_POLL_SECONDS)
