"""Chat templates that a stranger made to hurt: what each gets, and a part of the message."""

from __future__ import annotations

__all__ = ["CASES", "Case"]

Case = tuple[str, str, str]
"""The template, the error's class, a part of its message."""

_DOUBLED = "{{% set ns = namespace(x={start}) %}}{{% for i in range(60) %}}{{% set ns.x = {twice} %}}{{% endfor %}}"
_LAUGHS = _DOUBLED.format(start="[1]", twice="[ns.x, ns.x]")
_TUPLES = _DOUBLED.format(start="(1,)", twice="(ns.x, ns.x)")
_LOOP = "{{% set r = range(99999) %}}{{% for i in r %}}{}{{% endfor %}}"
_BUDGET, _REFUSED = "ChatTemplateError", "ChatError"
_TOO_MUCH = "takes too many steps, or makes too large a text"
_HUGE = "computes with huge integers"
_TEXT = "{% set b = 'a' * 1000000 %}"
_MANY = "{{% set b = 'a' * 1000000 %}}{{% for i in range(99999) %}}{{% if {} %}}{{% endif %}}{{% endfor %}}"

CASES: dict[str, Case] = {
    "text times 10^10": ("{{ 'a' * 10**10 }}", _BUDGET, _TOO_MUCH),
    "text times 10^10, a constant": ("{{ 'a' * 10000000000 }}", _BUDGET, _TOO_MUCH),
    "list times 10^10": ("{{ ([1] * 10**10) | length }}", _BUDGET, _TOO_MUCH),
    "number to the power 10^10": ("{{ 9 ** 10000000000 }}", _BUDGET, _HUGE),
    "number squared 60 times": (_DOUBLED.format(start="9", twice="ns.x * ns.x"), _BUDGET, _HUGE),
    "range of 10^12": ("{{ range(10**12) | list }}", _REFUSED, "Range too big"),
    "loop in a loop, 10^10 rounds": (_LOOP.format("{% for j in r %}{% endfor %}"), _BUDGET, _TOO_MUCH),
    "loop in a loop whose filter lets nothing pass": (
        _LOOP.format("{% for j in r if false %}{% endfor %}"),
        _BUDGET,
        _TOO_MUCH,
    ),
    "loop that calls itself": (
        "{% set r = range(99999) %}"
        "{% for i in r recursive %}{% if loop.depth < 3 %}{{ loop(r) }}{% endif %}{% endfor %}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "filter over a loop, 10^10 rounds": (_LOOP.format("{{ r | select('none') | first }}"), _BUDGET, _TOO_MUCH),
    "macro that calls itself twice, 60 deep": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "macro that calls itself for ever": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", _REFUSED, "recursion"),
    "10 GB of output in a loop": (
        "{% set b = 'a' * 100000 %}{% for i in range(99999) %}{{ b }}{% endfor %}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "10 GB of plain text in a loop": (
        "{% for i in range(99999) %}" + "a" * 100_000 + "{% endfor %}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "text doubled 60 times by ~": (_DOUBLED.format(start="'a'", twice="ns.x ~ ns.x"), _BUDGET, _TOO_MUCH),
    "text doubled 60 times by +": (_DOUBLED.format(start="'a'", twice="ns.x + ns.x"), _BUDGET, _TOO_MUCH),
    "text doubled 60 times by set blocks": (
        "{% set a = 'a' %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60,
        _BUDGET,
        _TOO_MUCH,
    ),
    "copies of a text by slices": (
        "{% set b = 'a' * 1000000 %}{% set ns = namespace(x=[]) %}"
        "{% for i in range(9999) %}{% set ns.x = ns.x + [b[1:]] %}{% endfor %}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "billion laughs, written": (_LAUGHS + "{{ ns.x }}", _BUDGET, _TOO_MUCH),
    "billion laughs, as JSON": (_LAUGHS + "{{ ns.x | tojson }}", _BUDGET, _TOO_MUCH),
    "billion laughs, as JSON's separators": (_LAUGHS + "{{ 1 | tojson(separators=ns.x) }}", _REFUSED, "must be str"),
    "billion laughs, compared": (_LAUGHS + "{% set a = ns.x %}{{ a == [ns.x, a] }}", _BUDGET, _TOO_MUCH),
    "billion laughs, hashed": (_TUPLES + "{{ {ns.x: 1} | length }}", _BUDGET, _TOO_MUCH),
    "billion laughs, in an error": (_LAUGHS + "{{ raise_exception(ns.x) }}", _BUDGET, _TOO_MUCH),
    "billion laughs, as a dict's values": (_LAUGHS + "{{ {1: ns.x}.values() }}", _BUDGET, _TOO_MUCH),
    "billion laughs, a field of a format": (_LAUGHS + "{{ '{0.x}'.format(ns) }}", _BUDGET, _TOO_MUCH),
    "padding: center": ("{{ 'a' | center(10**9) }}", _BUDGET, _TOO_MUCH),
    "padding: ljust, got by attr": ("{{ ('a' | attr('ljust'))(10**9) }}", _BUDGET, _TOO_MUCH),
    "padding: %1000000000d": ("{{ '%1000000000d' % 1 }}", _BUDGET, _TOO_MUCH),
    "padding: %*d": ("{{ '%*d' % (10**9, 1) }}", _BUDGET, _TOO_MUCH),
    "padding: %-*d": ("{{ '%-*d' % (10**9, 1) }}", _BUDGET, _TOO_MUCH),
    "padding: %0*d": ("{{ '%0*d' % (10**9, 1) }}", _BUDGET, _TOO_MUCH),
    "padding: %.*f": ("{{ '%.*f' % (10**9, 1.5) }}", _BUDGET, _TOO_MUCH),
    "padding: %*d, the filter": ("{{ '%-*d' | format(10**9, 1) }}", _BUDGET, _TOO_MUCH),
    "padding: a field's name with brackets": ("{{ '%(a(b))1000000000d' % {'a(b)': 1} }}", _BUDGET, _TOO_MUCH),
    "padding: a field's name with many brackets": (
        "{{ '%(a(b(c(d))))1000000000d' % {'a(b(c(d)))': 1} }}",
        _BUDGET,
        "a name that has many brackets",
    ),
    "padding: ljust of a safe text": ("{{ ('a' | safe).ljust(200000000) }}", _BUDGET, _TOO_MUCH),
    "padding: {:1000000000}": ("{{ '{:1000000000}'.format(1) }}", _BUDGET, _TOO_MUCH),
    "padding: {:{}}": ("{{ '{:{}}'.format(1, 10**9) }}", _BUDGET, _TOO_MUCH),
    "padding: indent": ("{{ ('\n' * 100000) | indent(100000, blank=true) }}", _BUDGET, _TOO_MUCH),
    "padding: tojson": ("{{ [[1]] | tojson(indent=10**9) }}", _BUDGET, _TOO_MUCH),
    "padding: tojson's separators": (
        "{{ (range(99999) | list) | tojson(separators=('a' * 10000, ':')) }}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "padding: tojson's separators, in a list": (
        "{{ [range(99999) | list] | tojson(separators=['a' * 10000, ':'] | map('string')) }}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "padding: batch": ("{{ [1] | batch(10**9, 'x') | list | length }}", _BUDGET, _TOO_MUCH),
    "padding: to_bytes": ("{{ (1).to_bytes(10**9) }}", _BUDGET, _TOO_MUCH),
    "large for small: replace": ("{{ ('a' * 100000).replace('', 'b' * 100000) }}", _BUDGET, _TOO_MUCH),
    "large for small: replace, by names": (
        "{{ ('a' * 100000) | replace('', count=10**9, new='b' * 100000) }}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "large for small: join": ("{{ range(99999) | join('b' * 100000) }}", _BUDGET, _TOO_MUCH),
    "large for small: translate": ("{{ ('a' * 100000).translate({97: 'b' * 100000}) }}", _BUDGET, _TOO_MUCH),
    "copies of a text by split": (
        _TEXT + "{% set ns = namespace(x=[]) %}"
        "{% for i in range(9999) %}{% set ns.x = ns.x + [b.split('b'), b.partition('a')] %}{% endfor %}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "copies of a text by safe + text": (
        _TEXT + "{% set ns = namespace(x='' | safe) %}{% for i in range(9999) %}{% set ns.x = ns.x + b %}{% endfor %}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "search in a text: in": (_MANY.format("'b' in b"), _BUDGET, _TOO_MUCH),
    "search in a text: not in, of a variable": ("{% set c = 'b' %}" + _MANY.format("c not in b"), _BUDGET, _TOO_MUCH),
    "search in a text: count": (_MANY.format("b.count('b')"), _BUDGET, _TOO_MUCH),
    "search in a text: find, of a safe one": (_MANY.format("(b | safe).find('b')"), _BUDGET, _TOO_MUCH),
    "search in a text: rfind, at its worst": (
        _TEXT + "{{ b.rfind('a' * 200000 ~ 'b' ~ 'a' * 200000) }}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "search in a text: strip, at its worst": (
        "{{ ('b' * 1000000).strip('a' * 1000000 ~ 'b') }}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "search in a text: trim, at its worst": (
        "{{ ('b' * 1000000) | trim('a' * 1000000 ~ 'b') }}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "search in a list": (
        "{% set r = range(99999) | list %}{% for i in r %}{% if 'a' in r %}{% endif %}{% endfor %}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "texts compared": (
        _TEXT + "{% set c = b ~ '' %}{% for i in range(99999) %}{% if b == c %}{% endif %}{% endfor %}",
        _BUDGET,
        _TOO_MUCH,
    ),
    "number of a million bytes": ("{{ (1).from_bytes('a'.encode() * 1000000) % 7 }}", _BUDGET, _HUGE),
    "number of a million bytes, in a list": ("{{ (1).from_bytes([1] * 100000) % 7 }}", _BUDGET, _HUGE),
    "hexadecimal number of a million digits": ("{{ ('f' * 1000000) | int(0, 16) }}", _BUDGET, _HUGE),
    "refilling the budget": ("{{ [-10**9] | map('charge step') | list }}{{ 'a' * 10**9 }}", _BUDGET, _TOO_MUCH),
    "source of 16 MB": ("a" * (1 << 24), _BUDGET, "more than 262,144"),
    "source with 100,000 brackets": ("{{ " + "(" * 100_000 + ")" * 100_000 + " }}", _BUDGET, "can't be compiled"),
    "include of /etc/passwd": ("{% include '/etc/passwd' %}", _REFUSED, "no loader"),
    "import of os": ("{% import 'os' as os %}{{ os.system('true') }}", _REFUSED, "no loader"),
    "Python's internals by attributes": (
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        _BUDGET,
        "leave its sandbox",
    ),
    "Python's internals by attr": ("{{ (messages | attr('__class__')).__base__ }}", _BUDGET, "leave its sandbox"),
    "Python's internals by format": ("{{ '{0.__class__.__base__}'.format(messages) }}", _BUDGET, "leave its sandbox"),
}
