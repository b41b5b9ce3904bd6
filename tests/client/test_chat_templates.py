"""Conversations are rendered as transformers' `apply_chat_template` renders them, and refused where it fails."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox
import numpy as np
import pytest
from rewardserve import ChatError, ChatTemplateError, Tokenization
from rewardserve._chat import render_chats
from rewardserve._tokenizer import Encoder
from support.chat_templates import CONVERSATIONS, TEMPLATES, TOOL_CALL, chat, published_templates
from support.checkpoints import save_tokenizer
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizer")


@pytest.fixture(scope="module")
def theirs(directory: Path) -> PreTrainedTokenizerFast:
    """With a post-processor that adds BOS, so that one could be doubled."""
    return save_tokenizer(directory, bos=True)


def contract(template: str | None) -> Tokenization:
    return Tokenization(
        tokenizer_sha256="",
        max_length=100_000,
        adds_bos=True,
        bos_token="<s>",
        eos_token="</s>",
        chat_template=template,
        template_tokens={"pad_token": "<pad>"},
    )


def render(template: str | None, conversation: Any) -> str:
    (text,) = render_chats([conversation], contract(template))
    return text


def outcome_of_ours(template: str, conversation: list[Any]) -> str | tuple[type[BaseException], str]:
    try:
        return render(template, conversation)
    except ChatError as error:
        assert error.index == 0
        assert error.__cause__ is not None
        assert (str(error.__cause__) or type(error.__cause__).__name__) in str(error)
        return type(error.__cause__), str(error.__cause__)


def outcome_of_theirs(
    theirs: PreTrainedTokenizerFast, template: str, conversation: list[Any]
) -> str | tuple[type[BaseException], str]:
    try:
        text: str = theirs.apply_chat_template(conversation, chat_template=template, tokenize=False)
    except Exception as error:
        return type(error), str(error)
    return text


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_texts_and_errors_are_those_of_transformers(
    theirs: PreTrainedTokenizerFast, template: str, conversation: str
) -> None:
    source, messages = TEMPLATES[template], CONVERSATIONS[conversation]
    assert outcome_of_ours(source, messages) == outcome_of_theirs(theirs, source, messages)


@pytest.mark.parametrize(
    "file",
    published_templates() or [pytest.param(None, marks=pytest.mark.skip(reason="TRL's package isn't installed"))],
    ids=lambda file: file and file.stem,
)
def test_published_templates(theirs: PreTrainedTokenizerFast, file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    for name, messages in CONVERSATIONS.items():
        assert outcome_of_ours(source, messages) == outcome_of_theirs(theirs, source, messages), name


@pytest.mark.parametrize(("ours", "published"), [("llama3", "llama3"), ("qwen2.5", "qwen2_5"), ("gemma", "gemma")])
def test_our_templates_write_the_published_formats(ours: str, published: str) -> None:
    files = {file.stem: file for file in published_templates()}
    if not files:
        pytest.skip("TRL's package isn't installed")
    source = files[published].read_text(encoding="utf-8")
    for name in ("one turn", "many turns", "unicode", "empty contents", "spaces and newlines", "markup"):
        messages = [m for m in CONVERSATIONS[name] if ours != "gemma" or m["role"] != "system"]
        assert render(TEMPLATES[ours], messages) == render(source, messages)


def test_mistral_writes_its_format() -> None:
    text = render(TEMPLATES["mistral"], chat("a", " b ", "c", "d", system="s"))
    assert text == "<s>[INST] a[/INST] b</s>[INST] s\n\nc[/INST] d</s>"


@pytest.mark.parametrize("template", ["llama3", "qwen2.5", "mistral", "gemma"])
def test_token_ids_are_those_of_transformers(theirs: PreTrainedTokenizerFast, directory: Path, template: str) -> None:
    source, rules = TEMPLATES[template], contract(TEMPLATES[template])
    conversations = [
        messages for messages in CONVERSATIONS.values() if isinstance(outcome_of_theirs(theirs, source, messages), str)
    ]
    texts = render_chats(conversations, rules)
    encoder = Encoder(Tokenizer.from_file(str(directory / "tokenizer.json")), rules)
    expected = [theirs.apply_chat_template(messages, chat_template=source)["input_ids"] for messages in conversations]
    assert len(texts) >= 8
    assert encoder.encode(texts, chat=True)[0] == expected


IDIOMS = {
    "llama 3": "{% for m in messages %}"
    "{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + "
    "m['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}",
    "qwen 2.5": "{%- if messages[0]['role'] == 'system' %}\n    {{- messages[0]['content'] }}\n{%- endif %}\n"
    "{%- for m in messages %}\n  "
    "{%- if (m.role == 'user') or (m.role == 'assistant' and not m.tool_calls) %}\n    "
    "{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}\n  {%- endif %}\n{%- endfor %}",
    "qwen 3": "{%- set ns = namespace(multi=true, last=messages|length - 1) %}{%- for m in messages[::-1] %}"
    "{%- set index = (messages|length - 1) - loop.index0 %}"
    "{%- if ns.multi and m.role == 'user' and m.content is string and not "
    "(m.content.startswith('<t>') and m.content.endswith('</t>')) %}{%- set ns.multi = false %}"
    "{%- set ns.last = index %}{%- endif %}{%- endfor %}{{ ns.last }}{{ ns.multi }}",
    "qwen 3, reasoning": "{% set c = messages[2].content %}{% if '</think>' in c %}"
    "{% set r = c.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}[{{ r }}|{{ c }}]{% endif %}",
    "qwen 3 coder": "{% for k, v in call.arguments | items %}"
    "{{ '\n<' ~ k ~ '>' ~ (v | tojson | safe) ~ '</' ~ k ~ '>' }}{{- '\n<parameter=' + k + '>\n' }}"
    "{%- set v = v | tojson | safe if v is mapping or (v is sequence and v is not string) else v | string %}"
    "{{- v }}{{- '\n</parameter>' }}{% endfor %}",
    "macro of qwen 3 coder": "{% macro extra(d, handled) %}{% if d is mapping %}"
    "{% for k in d if k not in handled %}"
    "{{- '\n<' ~ k ~ '>' ~ (d[k] | tojson | safe if d[k] is not string else d[k]) ~ '</' ~ k ~ '>' }}"
    "{% endfor %}{% endif %}{% endmacro %}{{ extra(call.arguments, ['n']) }}{{ extra(call, []) | upper }}",
    "mistral": "{% for m in messages[1:] %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('no') }}{% endif %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}"
    "{% endfor %}",
    "gemma": "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + (m['content'] | trim) + '<end_of_turn>\n' }}{% endfor %}",
    "deepseek": "{% set ns = namespace(is_first=false, prompt='', is_tool=false) %}{%- for m in messages %}"
    "{%- if m['role'] == 'system' %}{% set ns.prompt = ns.prompt + m['content'] %}{%- endif %}{%- endfor %}"
    "{{ bos_token }}{{ ns.prompt }}{%- for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<\uff5cAssistant\uff5c>' + m['content'].split('</think>')[-1] + '<\uff5cend▁of▁sentence\uff5c>' }}"
    "{% endif %}{% endfor %}",
    "chatml": "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>' ~ '\n' }}"
    "{% endfor %}",
    "loop": "{% for m in messages %}{{ loop.index0 }}{{ loop.index }}{{ loop.first }}{{ loop.last }}"
    "{{ loop.revindex0 }}{{ loop.length }}{{ loop.cycle('a', 'b') }}{{ (loop.previtem or m).role }}"
    "{{ (loop.nextitem | default(m)).role }}{{ loop.changed(m.role) }}{% else %}none{% endfor %}",
    "loop with a filter and else": "{% for m in messages if m.role == 'x' %}{{ m }}{% else %}none{% endfor %}",
    "recursive loop": "{% for k, v in call.items() recursive %}{{ k }}={% if v is mapping %}"
    "{{ loop(v.items()) }}{% else %}{{ v }}{% endif %};{% endfor %}",
    "namespace": "{% set ns = namespace(found=false, n=1.5) %}{% set ns.found = ns.n * 2 > 2 %}{{ ns.found }}"
    "{{ ns.n }}",
    "macro with defaults and caller": "{% macro m(a, b='é', c=none) %}[{{ a }}{{ b }}{{ c }}{{ varargs }}"
    "{{ kwargs }}{{ caller() if caller else '' }}]{% endmacro %}{{ m(1) }}{{ m(1, 2, 3, 4, x=5) }}"
    "{% call m('<') %}&{% endcall %}",
    "in": "{{ 'a' in 'abc' }}{{ 'x' not in call }}{{ 'n' in call.arguments }}"
    "{{ messages[0].role in ['system', 'user'] }}{{ 'role' in messages[0].keys() }}{{ 1 in (1, 2) }}"
    "{{ messages[0] in messages }}{{ 1 < 2 < 3 }}{{ 5 in range(9) }}",
    "in, of what is undefined": "{{ 'a' in nothing }}{{ 'a' not in messages[0].nothing }}",
    "slices": "{{ messages[1:][0].role }}{{ messages[:-1] | length }}{{ messages[0].content[:3] }}{{ 'abc'[::-1] }}",
    "methods of texts": "{% set c = messages[1].content %}{{ c.split() }}{{ c.strip() }}{{ c.lstrip('\n ') }}"
    "{{ c.rstrip() }}{{ c.replace('a', 'b') }}{{ c.replace('a', '<', 1) }}{{ c.startswith('a') }}"
    "{{ c.startswith((' ', 'a')) }}{{ c.title() }}{{ c.find('a') }}{{ c.rfind('a') }}{{ c.count('a') }}"
    "{{ c.partition(' ') }}{{ c.rsplit(' ', 1) }}{{ c.splitlines() }}{{ ', '.join(['a', 'b']) }}"
    "{{ 'a'.ljust(3) }}{{ 'a'.center(5, '*') }}{{ '7'.zfill(3) }}{{ 'a\tb'.expandtabs(4) }}"
    "{{ 'abc'.translate({97: 'x'}) }}{{ c.encode() }}{{ c.isspace() }}{{ c.index('a') }}",
    "filters of texts": "{% set c = messages[1].content %}{{ c | trim }}{{ c | upper }}{{ c | lower }}"
    "{{ c | length }}{{ c | title }}{{ c | capitalize }}{{ c | replace('a', '<b>') }}{{ c | indent(2) }}"
    "{{ c | e }}{{ c | list }}{{ c | wordcount }}{{ c | truncate(5) }}{{ c | first }}{{ c | center(30) }}"
    "{{ '<p>a</p>' | striptags }}{{ c | trim('\n a') }}{{ c | urlencode }}{{ c | reverse }}"
    "{{ c | wordwrap(4) }}",
    "filters of lists": "{{ messages | map(attribute='role') | join(', ') }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
    "{{ (messages | rejectattr('role', 'in', ['system']) | first).content }}"
    "{{ messages | map('length') | list }}{{ [3, 1, 2] | sort | join('-') }}{{ [1, 2] | sum }}"
    "{{ [1, 1] | unique | list }}{{ [[1], [2]] | sum(start=[]) }}{{ ['a', '<'] | join('&') }}"
    "{{ [1, 2, 3] | select('gt', 1) | list }}{{ [1, 2] | max }}{{ messages | groupby('role') | length }}"
    "{{ range(5) | batch(2, 'x') | list }}{{ [3, 4] | last }}{{ ['a', 'b'] | map('upper') | join }}"
    "{{ 'abc' | join('.') }}{{ nothing | join }}",
    "filters of dicts": "{{ call | items | list }}{{ call.arguments | dictsort }}{{ call | list }}{{ call | length }}",
    "default": "{{ nothing | default('d') }}{{ '' | default('d', true) }}{{ none | d('x') }}{{ call.x | default([]) }}",
    "numbers": "{{ 7 // 2 }}{{ 7 % 4 }}{{ 2 ** 10 }}{{ 1.5 * 2 }}{{ -3 | abs }}{{ 2.567 | round(1) }}"
    "{{ '12' | int + 1 }}{{ '1.5' | float }}{{ 'x' | int(default=-1) }}{{ 7 / 2 }}{{ true + 1 }}{{ 'a' * 3 }}"
    "{{ [0] * 2 }}{{ 2 - 1 }}",
    "formats": "{{ 'On 20250101: %s' % 'x' }}{{ '%d%% of %5.2f %-4s|' % (50, 1.5, 'a') }}"
    "{{ '%(a)s %(b)05d' % {'a': '<', 'b': 7} }}{{ '%s, %s' | format('a', 'b') }}{{ '%(x)s' | format(x=1) }}"
    "{{ '{0} {x:>4} {0!r}'.format('é', x=2) if true }}{{ '%*d|%-*d|%.*f' % (5, 3, 5, 3, 2, 1.23456) }}"
    "{{ '{a}'.format_map({'a': 1}) }}{{ '%r %x' % ([1], 255) }}{{ '99999999 %s 88888888' % [1, 'a'] }}"
    "{{ '%s' % none }}",
    "json": "{{ call | tojson }}{{ call | tojson(indent=4) }}"
    "{{ call | tojson(ensure_ascii=true, sort_keys=true) }}"
    "{{ [1, {'a': none}] | tojson(separators=(',', ':')) }}{{ '</a>' | tojson }}"
    "{{ [[], {}] | tojson(indent='\t') }}{{ messages | tojson(false, 2) }}{{ 1.0 | tojson(indent=1000000000) }}",
    "dicts": "{% for k in call %}{{ k }}{% endfor %}{% for k, v in call.arguments.items() %}{{ k }}={{ v }}"
    "{% endfor %}{{ call.get('x', 'no') }}{{ call.keys() | list }}{{ call.arguments.values() | list }}"
    "{{ {'a': {'b': 1}}.a.b }}{{ dict(a=1, b=[2]) }}{{ {messages[0].role: 1} }}{{ call['name'] }}"
    "{{ dict(call, x=1) | length }}",
    "markup beside text": "{% set s = '<b>' | safe %}{{ s ~ '<i>' }}{{ '<i>' ~ s ~ 1 ~ none }}{{ s + '<i>' }}"
    "{{ '<i>' + s }}{{ s }}{{ ['<', s] | join }}{{ s.join(['<', s]) }}{{ ('%s' | safe) % '<' }}"
    "{{ ('{}' | safe).format('<') }}{{ s.replace('b', '<') }}{{ s.ljust(5) }}{{ s | replace('<', '>') }}"
    "{{ s * 2 }}{{ s[1:] ~ '<' }}{{ '<' | e ~ '<' }}{{ ('<' | e).split('&') }}{{ s == '<b>' }}{{ 'b' in s }}"
    "{{ s | upper ~ '&' }}{{ s.strip('<') }}{{ s.center(9, '*') }}",
    "autoescape": "{% autoescape true %}{{ call.arguments.x ~ ('<' | safe) }}{{ '<' ~ '>' }}{{ ['<'] }}"
    "{% endautoescape %}{{ '<' }}",
    "nested lists": "{{ [1, [2, ['é', none, true, 1.5]], ('a',), {'k': [1]}] }}{{ messages }}{{ (1, 2) }}"
    "{{ [] }}{{ '\\n' }}",
    "undefined": "[{{ nothing }}{{ messages[0].nothing }}{{ nothing ~ 'a' ~ messages[9] }}"
    "{{ nothing is defined }}{{ nothing == none }}{{ not nothing }}{{ 'a' if nothing }}{{ nothing or 'b' }}"
    "{{ nothing | upper }}{{ nothing | list }}{% for x in nothing %}{{ x }}{% endfor %}{{ [nothing] }}"
    "{{ nothing | length }}{{ nothing == messages[0].x }}]",
    "set blocks": "{% set x %}<{{ messages[0].role }}>{% endset %}{{ x }}{{ x ~ '<' }}{% set y | upper %}a"
    "{% endset %}{{ y }}{% filter upper %}a{{ x }}{% endfilter %}{% with a = 1 %}{{ a }}{% endwith %}"
    "{% set a, b = 1, 2 %}{{ a + b }}",
    "blocks": "{% block b %}{{ bos_token }}{% endblock %}{{ self.b() }}",
    "spaces": "  {% if true %}\n  a\n    {%- endif %}\n\n  {# c #}\n {{ 'x' }} \n{%+ if true %} b {% endif +%}\n end\n",
    "tests": "{{ messages is iterable }}{{ 'a' is string }}{{ call is mapping }}{{ 1 is number }}"
    "{{ none is none }}{{ 3 is odd }}{{ 1 is eq 1 }}{{ 'a' is in 'abc' }}{{ 4 is divisibleby 2 }}"
    "{{ true is boolean }}{{ [1] is sequence }}{{ 'A' is upper }}",
    "break and continue": "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}"
    "{% break %}{% endfor %}",
    "date": "{{ strftime_now('%d %b %Y') }}{{ '%s' % strftime_now('%Y') }}",
    "cycler, joiner": "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{% set j = joiner(', ') %}"
    "{{ j() }}x{{ j() }}y",
}
"""What published templates are made of."""


def plain_environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    """As transformers sets it up."""

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(
        x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": datetime.now().strftime}
    return environment


@pytest.mark.parametrize("name", IDIOMS)
def test_idioms_are_rendered_as_by_jinja(name: str) -> None:
    """Character for character: what a template may cost changes nothing of what it writes."""
    call = {"name": "f", "arguments": {"x": "é<&>", "n": 2, "l": [1, "'"], "d": {"a": None}}}
    messages = chat(' a b\n an "<b>" \n', "<think>\nbecause\n</think>\n\nyes", "c", "d", system="é < & 's'")
    messages[2]["tool_calls"] = [call]
    source = "{% set call = messages[2].tool_calls[0] %}" + IDIOMS[name]
    expected = plain_environment().from_string(source).render(messages=messages, bos_token="<s>", eos_token="</s>")
    assert render(source, messages) == expected
    assert expected.strip()


def test_what_the_caller_passed_is_not_changed() -> None:
    messages = chat("a", "b")
    for change in ("messages.append(1)", "messages[0].update(role='x')", "messages[0].setdefault('x', 1)"):
        with pytest.raises(ChatTemplateError, match="leave its sandbox"):
            render("{{ " + change + " }}", messages)
    assert render("{% set m = messages[0] %}{{ m.role }}", messages) == "user"
    assert messages == chat("a", "b")


@pytest.mark.parametrize(
    "conversation",
    [
        tuple(chat("a", "b")),
        np.array(chat("a", "b"), dtype=object),
        [{"role": np.str_("user"), "content": np.str_("a")}, *chat("a", "b")[1:]],
    ],
    ids=["tuple", "numpy's array", "numpy's texts"],
)
def test_other_sequences(conversation: Any) -> None:
    assert render(TEMPLATES["llama3"], conversation) == render(TEMPLATES["llama3"], chat("a", "b"))


@pytest.mark.parametrize(
    ("conversation", "problem"),
    [
        ("text", "is of type str, not a list of messages"),
        (b"text", "is of type bytes, not a list"),
        (None, "is of type NoneType, not a list"),
        ({"role": "user", "content": "a"}, "is of type dict, not a list"),
        ([], "has no message"),
        (["text"], "message 0 is of type str, not a mapping"),
        ([*chat("a"), None], "message 1 is of type NoneType, not a mapping"),
        ([{"content": "a"}], "message 0 has no role"),
        ([{"role": None, "content": "a"}], "message 0 has no role"),
        ([{"role": 1, "content": "a"}], "message 0 has no role"),
        ([*chat("a"), {"role": "user"}], "message 1 has no content"),
        ([{"role": "user", "content": None}], "message 0 has no content"),
        ([{"role": "user", "content": 4}], "message 0 has no content, or one that is neither text"),
        ([{"role": "user", "content": "a", "file": Path()}], "message 0 holds a value of type PosixPath"),
        ([{"role": "user", "content": [np.zeros(2)]}], "message 0 holds a value of type ndarray"),
    ],
)
def test_what_is_no_conversation_is_named(conversation: Any, problem: str) -> None:
    with pytest.raises(ChatError, match=f"^item 1: {problem}.*Remedy") as raised:
        render_chats([chat("a", "b"), conversation], contract(TEMPLATES["llama3"]))
    assert raised.value.index == 1


def test_calls_of_tools_need_no_content() -> None:
    messages = [*chat("a"), {"role": "assistant", "content": None, "tool_calls": [{"function": TOOL_CALL}]}]
    assert render("{{ messages[1].tool_calls | tojson }}", messages) == (
        '[{"function": {"name": "f", "arguments": {"x": "é<"}}}]'
    )


@pytest.mark.parametrize("conversations", ["text", {"role": "user", "content": "a"}])
def test_one_conversation_is_no_list_of_them(conversations: Any) -> None:
    with pytest.raises(TypeError, match="must be a list"):
        render_chats(conversations, contract(TEMPLATES["llama3"]))


def test_a_model_without_a_template_is_named() -> None:
    with pytest.raises(ChatTemplateError, match=r"exported without a chat template. Remedy: .* whole texts to score"):
        render_chats([], contract(None))


@pytest.mark.parametrize("source", ["{% for %}", "{{ 1 | no_such_filter }}", "{% generation %}", "{% endfor %}"])
def test_a_template_that_is_no_jinja_is_named(source: str) -> None:
    with pytest.raises(ChatTemplateError, match=r"can't be compiled .*Remedy"):
        render(source, chat("a", "b"))


HOSTILE = [
    "{{ messages.__class__ }}",
    "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ (messages | attr('__class__')).__base__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['json'] }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].system('true') }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace(__class__=1) }}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "{{ dict.__base__ }}",
    "{{ dict.__call__.__globals__ }}",
    "{{ dict.mro() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{{ '{a.__class__}'.format_map({'a': messages}) }}",
    "{{ ('x' | e).__class__.__init__.__globals__ }}",
    "{{ (messages | map(attribute='__class__') | list)[0].__base__ }}",
    "{{ messages.append.__self__.__class__ }}",
    "{% for i in range(1000000) %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.system('true') }}",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_a_hostile_template_gets_nothing(theirs: PreTrainedTokenizerFast, source: str) -> None:
    """An error, or an undefined value, which renders as nothing; the same as in transformers."""
    messages = chat("a", "b")
    try:
        text = render(source, messages)
    except (ChatTemplateError, ChatError):
        assert isinstance(outcome_of_theirs(theirs, source, messages), tuple)
    else:
        assert text == outcome_of_theirs(theirs, source, messages) == ""


def test_an_undefined_name_renders_as_nothing() -> None:
    """As in transformers: templates ask for what isn't there (`message.tool_calls`)."""
    assert render("[{{ no_such_name }}{{ messages[0].x }}]", chat("a")) == "[]"


def test_tokens_that_the_tokenizer_lacks_are_undefined() -> None:
    rules = Tokenization(tokenizer_sha256="", max_length=8, chat_template="{{ bos_token is defined }}{{ eos_token }}")
    assert render_chats([chat("a")], rules) == ["False"]


def test_errors_of_templates_keep_their_class() -> None:
    with pytest.raises(ChatError) as raised:
        render("{{ raise_exception('no') }}", chat("a"))
    assert type(raised.value.__cause__) is jinja2.TemplateError
    assert str(raised.value).startswith("item 0: is refused by the model's chat template: no. Remedy")
