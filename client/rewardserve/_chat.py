"""Conversations become text as in transformers' `apply_chat_template(conversation, tokenize=False)`.

A chat template is Jinja code that came with a checkpoint, or from a server, so it runs in Jinja's sandbox, on plain
copies of the messages: it can neither change what the caller passed nor reach Python's internals, and what it makes and
how long it takes is bounded (`_template_budget.py`).

The variables, filters and functions are those that transformers documents for template authors
(https://huggingface.co/docs/transformers/chat_templating_writing).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.utils import Namespace

from rewardserve._contract import Tokenization
from rewardserve._errors import ChatError, ChatTemplateError
from rewardserve._template_budget import BudgetError, budget
from rewardserve._template_environment import BoundedEnvironment

__all__ = ["render_chats"]

_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Keys of a message's reasoning: templates read the first, some the second; data has any of them."""

_LONGEST_TEMPLATE = 1 << 18
"""Characters; published ones have 20,000 at most."""

_SCALARS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
)
"""Types, and what makes a plain one of a subclass (an enum, numpy's), whatever its own methods say."""


def render_chats(conversations: Iterable[Any], rules: Tokenization) -> list[str]:
    """Renders conversations with the contract's chat template, without a generation prompt.

    Args:
        conversations: Each a list of messages: mappings with `role` and `content`, and what else the template reads.
        rules: The contract's.

    Raises:
        ChatTemplateError: The contract has no chat template, or one that can't be compiled, or leaves the sandbox.
        ChatError: An item isn't a conversation, or the template refuses it.
    """
    if isinstance(conversations, str | Mapping):
        raise TypeError(
            f"conversations must be a list, not one {type(conversations).__name__}. Remedy: pass [messages]"
        )
    if rules.chat_template is None:
        raise ChatTemplateError(
            "the model was exported without a chat template. Remedy: save the tokenizer with the template that the "
            "training used beside the checkpoint and export again, or pass whole texts to score"
        )
    template = _compile(rules.chat_template)
    tokens = {"bos_token": rules.bos_token, "eos_token": rules.eos_token, **rules.template_tokens}
    variables: dict[str, Any] = {
        "tools": None,
        "documents": None,
        "add_generation_prompt": False,
        **{name: token for name, token in tokens.items() if token is not None},
    }
    return [_render(template, index, conversation, variables) for index, conversation in enumerate(conversations)]


def _render(template: jinja2.Template, index: int, conversation: Any, variables: dict[str, Any]) -> str:
    messages = _messages(index, conversation)
    try:
        with budget(messages):
            return template.render(messages=messages, **variables)
    except BudgetError as error:
        raise ChatTemplateError(
            f"the model's chat template fails on item {index}: {error}. "
            "Remedy: export the model with the template that the training used"
        ) from error
    except SecurityError as error:
        raise ChatTemplateError(f"the model's chat template tries to leave its sandbox ({error})") from error
    except Exception as error:  # whatever its code runs into: jinja2.TemplateError, TypeError, RecursionError, …
        raise ChatError(
            index,
            f"is refused by the model's chat template: {str(error) or type(error).__name__}. "
            "Remedy: pass the roles and contents that the model was trained with",
        ) from error


def _messages(index: int, conversation: Any) -> list[dict[str, Any]]:
    """Plain copies, without keys of value None, which many templates take for a text."""
    if isinstance(conversation, str | bytes | Mapping) or not isinstance(conversation, Iterable):
        found = f"is of type {type(conversation).__name__}, not a list of messages"
        raise ChatError(index, f"{found}. Remedy: pass a list of conversations, each a list of messages")
    messages = [_message(index, number, message) for number, message in enumerate(conversation)]
    if not messages:
        raise ChatError(index, "has no message. Remedy: leave it out")
    return messages


def _message(index: int, number: int, message: Any) -> dict[str, Any]:
    remedy = 'Remedy: pass {"role": …, "content": …}'
    if not isinstance(message, Mapping):
        raise ChatError(index, f"message {number} is of type {type(message).__name__}, not a mapping. {remedy}")
    try:
        plain = {_plain(key): _plain(value) for key, value in message.items() if value is not None}
    except TypeError as error:
        raise ChatError(index, f"message {number} holds {error}, templates take JSON only. {remedy}") from error
    if not isinstance(plain.get("role"), str):
        raise ChatError(index, f"message {number} has no role. {remedy}")
    if not isinstance(plain.get("content", "" if "tool_calls" in plain else None), str | list | tuple):
        raise ChatError(index, f"message {number} has no content, or one that is neither text nor a list. {remedy}")
    reasoning = next((plain[key] for key in _REASONING if key in plain), None)
    return plain if reasoning is None else {"thinking": reasoning, **plain, "reasoning_content": reasoning}


def _plain(value: Any) -> Any:
    """A copy made of JSON's types: other objects have methods that the sandbox doesn't know to be dangerous."""
    if value is None or isinstance(value, bool):
        return value
    for kind, plain in _SCALARS:
        if isinstance(value, kind):
            return plain(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, list):
        return list(map(_plain, value))
    raise TypeError(f"a value of type {type(value).__name__}")


@lru_cache(maxsize=16)
def _compile(source: str) -> jinja2.Template:
    if len(source) > _LONGEST_TEMPLATE:
        raise ChatTemplateError(
            f"the model's chat template has {len(source):,} characters, more than {_LONGEST_TEMPLATE:,}. "
            "Remedy: export the model with the template that the training used"
        )
    environment = BoundedEnvironment(
        filters={"tojson": _to_json},
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", _Generation],
    )
    environment.globals.update(
        raise_exception=_raise_exception, strftime_now=_strftime_now, namespace=_TemplateNamespace, dict=_TemplateDict()
    )
    try:
        return environment.bounded_from_string(source)
    except Exception as error:  # TemplateSyntaxError, and what folding its constants runs into
        raise ChatTemplateError(
            f"the model's chat template can't be compiled ({str(error) or type(error).__name__}). "
            "Remedy: export the model with a template that transformers takes"
        ) from error


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own escapes HTML, and text for a model is none."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Generation(Extension):
    """`{% generation %}` marks what the assistant wrote; here it only has the scope of a call block."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    @staticmethod
    def _body(caller: Callable[[], str]) -> str:
        return caller()


class _TemplateDict:
    """Stands for `dict` in templates, without the type's own attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, keys: Iterable[Any], value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


class _TemplateNamespace(Namespace):
    """Jinja's `namespace`, but no name may begin with an underscore: Python's internals have such names."""

    # No `self` among the parameters, so that a template may use it as a name.
    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *given = args
        attributes = dict(*given, **kwargs)
        for name in attributes:
            _require_public(name)
        Namespace.__init__(self, attributes)

    def __repr__(self) -> str:
        return "<Namespace>"  # its values may be of any size

    def __setitem__(self, name: str, value: Any) -> None:
        _require_public(name)
        Namespace.__setitem__(self, name, value)


def _require_public(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"the name {name!r} in a namespace begins with an underscore")
