"""`POST /get_reward`, as OpenRLHF calls it.

Since 0.4 its callers post `{"query": [...]}`, later with `prompts` and `labels` beside it, which its own server doesn't
read either: a query is the whole text, prompt and response. Up to 0.7 they read the list `rewards`; 0.8 reads `rewards`
and `scores` and joins every list in `extra_logs` as if it were a tensor, which fails, so there is nothing in it; later
ones take the place of `scores` from `rewards` where it is missing. With several URLs a caller sends an empty `query` to
those that it has nothing for.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from rewardserve_server.gateway._upstream import Upstream

__all__ = ["EXAMPLE", "PATH", "get_reward_router"]

PATH = "/get_reward"
EXAMPLE = '{"query": ["What is 2 + 2? It is 4."]}'


class RewardRequest(BaseModel):
    """Texts to score. `prompts`, `labels` and anything else that is sent along is not read."""

    model_config = ConfigDict(extra="ignore")

    # Of a million wrong items the first is enough: an error of each would take minutes and gigabytes.
    query: list[str] = Field(fail_fast=True, description="Whole texts, prompt and response.")


class RewardResponse(BaseModel):
    """Their rewards."""

    rewards: list[float] = Field(description="One a text, in order.")
    scores: list[float] = Field(description="The same; what OpenRLHF's dynamic filtering reads.")
    extra_logs: dict[str, Any] = Field(default={}, description="Always empty.")


def get_reward_router(upstream: Upstream) -> APIRouter:
    """The route.

    Args:
        upstream: Scores the texts.
    """
    router = APIRouter(tags=["OpenRLHF"])

    @router.post(PATH)
    async def get_reward(request: RewardRequest) -> RewardResponse:
        """Scores whole texts."""
        scored = await upstream.score(request.query, route=PATH)
        rewards = scored.single_rewards()
        return RewardResponse(rewards=rewards, scores=rewards)

    return router
