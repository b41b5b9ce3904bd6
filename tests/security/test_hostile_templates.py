"""A chat template from a stranger costs an error of ours, in bounded time and memory."""

from __future__ import annotations

from typing import Any

import pytest
from rewardserve import Tokenization
from rewardserve._chat import render_chats
from support.chat_templates import TEMPLATES, chat
from support.hostile_templates import CASES
from support.limited import run_limited


def render(template: str, messages: Any) -> str:
    rules = Tokenization(tokenizer_sha256="", max_length=10, bos_token="<s>", eos_token="</s>", chat_template=template)
    return render_chats([messages], rules)[0]


@pytest.mark.parametrize("name", CASES)
def test_it_gets_an_error_of_ours(name: str) -> None:
    template, gets, message = CASES[name]
    outcome = run_limited(render, template, chat("a", "b"))
    assert (outcome.kind, outcome.ours) == (gets, True), outcome
    assert message in outcome.text
    assert outcome.memory < 1 << 28


@pytest.mark.parametrize("template", ["llama3", "qwen2.5", "mistral", "gemma"])
def test_long_conversations_are_no_attack(template: str) -> None:
    """What a template may cost grows with the conversation."""
    many = chat(*["a question, or an answer"] * 1000)
    assert render(TEMPLATES[template], many).count("an answer") >= 999
    long = chat("a" * 10**6, "b" * 10**6)
    assert len(render(TEMPLATES[template], long)) >= 2 * 10**6


def test_a_look_at_a_long_system_message_for_every_turn_is_no_attack() -> None:
    template = "{% for m in messages %}{% if 'x' not in messages[0].content %}{{ loop.index0 }} {% endif %}{% endfor %}"
    text = render(template, chat(*["a"] * 2000, system="b" * 100_000))
    assert text.split() == [str(number) for number in range(2001)]


def test_the_budget_is_each_conversations_own() -> None:
    """A template that just fits does so for each of many."""
    rules = Tokenization(tokenizer_sha256="", max_length=10, chat_template="{{ 'a' * 1000000 }}")
    assert [len(text) for text in render_chats([chat("a")] * 10, rules)] == [1_000_000] * 10
