"""`POST /classify`, vLLM's, as verl's built-in reward model calls it.

verl sends `{"model": its checkpoint's path, "input": a text, "use_activation": false}`, with `activation` in place of
`use_activation` up to 0.7, and takes `data[-1]["probs"][-1]` for the reward.
"""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any, cast

from fastapi import APIRouter
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from rewardserve_server.gateway._upstream import Scored, Upstream

__all__ = ["EXAMPLE", "PATH", "classify_router"]

PATH = "/classify"
EXAMPLE = '{"input": "What is 2 + 2? It is 4.", "use_activation": false}'


def _in_plain_words(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        kinds = "a text, a list of texts, a list of token ids, or a list of such lists"
        raise PydanticCustomError("input", f"must be {kinds}") from error


def _refuse_activation(value: bool | None) -> bool | None:
    if value:
        raise PydanticCustomError("activation", "can't be true: rewards are answered as they are, without sigmoid")
    return value


Input = str | list[str] | list[StrictInt] | list[list[StrictInt]]


class ClassifyRequest(BaseModel):
    """What to score. The reward contract says how text becomes tokens, so further fields of vLLM's are not read."""

    model_config = ConfigDict(extra="ignore")

    input: Annotated[Input, WrapValidator(_in_plain_words)] = Field(
        description="Whole texts, or token ids that are scored as they are."
    )
    model: str | None = Field(default=None, description="Any name: verl sends its checkpoint's path.")
    use_activation: Annotated[bool | None, AfterValidator(_refuse_activation)] = Field(
        default=None,
        validation_alias=AliasChoices("use_activation", "activation"),
        description="Rewards have no activation; true is refused.",
    )


class Classification(BaseModel):
    """One text's reward."""

    index: int
    label: str | None = Field(description="Of the highest reward; null where the model has one output.")
    probs: list[float] = Field(description="The reward; one a label where the model has several.")
    num_classes: int


class Usage(BaseModel):
    """Tokens that were scored."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class ClassifyResponse(BaseModel):
    """vLLM's form of an answer."""

    id: str
    object: str = "list"
    created: int = Field(description="Seconds since 1970.")
    model: str = Field(description="The served model, whatever the request called it.")
    data: list[Classification]
    usage: Usage


def classify_router(upstream: Upstream) -> APIRouter:
    """The route.

    Args:
        upstream: Scores the texts.
    """
    router = APIRouter(tags=["vLLM"])

    @router.post(PATH)
    async def classify(request: ClassifyRequest) -> ClassifyResponse:
        """Scores texts or token ids."""
        scored = await _score(upstream, request.input)
        return ClassifyResponse(
            id=f"classify-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=upstream.model,
            data=_classifications(scored),
            usage=Usage(prompt_tokens=scored.tokens, total_tokens=scored.tokens),
        )

    return router


async def _score(upstream: Upstream, given: Input) -> Scored:
    if isinstance(given, str):
        return await upstream.score([given], route=PATH)
    if not given or isinstance(given[0], str):
        return await upstream.score(cast("list[str]", given), route=PATH)
    sequences = [given] if isinstance(given[0], int) else given
    return await upstream.score_tokens(sequences, route=PATH)


def _classifications(scored: Scored) -> list[Classification]:
    found = []
    for index, reward in enumerate(scored.rewards.tolist()):
        probs = reward if isinstance(reward, list) else [reward]
        label = scored.labels[probs.index(max(probs))] if scored.labels else None
        found.append(Classification(index=index, label=label, probs=probs, num_classes=len(probs)))
    return found
