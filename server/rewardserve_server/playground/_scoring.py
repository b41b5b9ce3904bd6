"""`POST /api/score`: responses to one prompt, each with its reward and its tokens."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field
from rewardserve import RewardClient

from rewardserve_server.playground._model import ServedModel

__all__ = ["EXAMPLE", "PATH", "scoring_router"]

PATH = "/api/score"
EXAMPLE = '{"prompt": "What is 2 + 2? ", "responses": ["It is 4.", "It is 5."]}'


class Message(BaseModel):
    """One message of a conversation."""

    role: str
    content: str


class ScoreRequest(BaseModel):
    """Responses to a prompt, or to the messages of a conversation."""

    prompt: str = Field(default="", description="Joined with each response as the contract says; empty: not joined.")
    # As in the gateway: one error is enough.
    messages: list[Message] | None = Field(
        default=None, fail_fast=True, description="In place of a prompt, for the chat template."
    )
    responses: list[str] = Field(min_length=1, fail_fast=True)


class Token(BaseModel):
    """One token that is scored."""

    id: int
    text: str
    value: float | None = Field(description="The value head's output here; null where the model answers none.")


class Scored(BaseModel):
    """One response."""

    rewards: list[float] = Field(description="One, or one a label.")
    tokens: list[Token] = Field(description="All that were scored, the prompt's and the template's too.")


class ScoreResponse(BaseModel):
    """All of them, in order."""

    results: list[Scored]


def scoring_router(served: ServedModel) -> APIRouter:
    """The route.

    Args:
        served: Scores the responses.
    """
    router = APIRouter()

    @router.post(PATH)
    def score(request: ScoreRequest) -> ScoreResponse:
        with served.client() as client:
            sequences = _tokenize(client, request)
            rewards = client.score_tokens(sequences)
            tokens = _tokens(client, sequences)
        results = [
            Scored(rewards=[reward] if isinstance(reward, float) else reward, tokens=own)
            for reward, own in zip(rewards.tolist(), tokens, strict=True)
        ]
        return ScoreResponse(results=results)

    return router


def _tokenize(client: RewardClient, request: ScoreRequest) -> list[list[int]]:
    if request.messages is not None:
        opening = [message.model_dump() for message in request.messages]
        found = client.tokenize_chat(
            [[*opening, {"role": "assistant", "content": response}] for response in request.responses]
        )
    else:
        prompt = request.prompt and request.prompt + client.contract.tokenization.pair_separator
        found = client.tokenize([prompt + response for response in request.responses])
    return [ids.tolist() for ids in found]


def _tokens(client: RewardClient, sequences: Sequence[Sequence[int]]) -> list[list[Token]]:
    values: Sequence[Sequence[float | None]]
    if client.contract.values:
        values = [each.tolist() for each in client.values_tokens(sequences)]
    else:
        values = [[None] * len(ids) for ids in sequences]
    return [
        [Token(id=id_, text=text, value=value) for id_, text, value in zip(*columns, strict=True)]
        for columns in zip(sequences, client.token_texts(sequences), values, strict=True)
    ]
