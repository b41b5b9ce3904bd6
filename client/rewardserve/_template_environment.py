"""Jinja's sandbox, with a budget: see `_template_budget.py`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Template, nodes, pass_context
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEscapeFormatter, SandboxedFormatter
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from rewardserve._template_budget import (
    METHODS,
    WHOLES,
    BudgetError,
    charge,
    charge_operation,
    charge_percent,
    charge_scan,
    charge_spec,
    charge_whole,
)

__all__ = ["BoundedEnvironment"]

# A space keeps them out of templates' code.
_STEP, _WRITTEN, _COMPARED, _SEARCHED, _CUT = (
    f"charge {what}" for what in ("step", "written", "compared", "searched", "cut")
)

_SHALLOW = frozenset(
    {
        *("abs", "attr", "count", "d", "default", "first", "float", "int", "items", "last", "length", "list", "map"),
        *("random", "reject", "rejectattr", "reverse", "round", "select", "selectattr"),
    }
)
"""Filters that don't look into the parts of what they are given."""

_UNITS_OF_A_CALL = 8
_MOST_DIGITS = 1000
"""That a number is read from, or rounded to."""

_COMPARISONS = (
    *("eq", "equalto", "==", "ne", "!=", "lt", "lessthan", "<", "le", "<="),
    *("gt", "greaterthan", ">", "ge", ">=", "in"),
)
"""Tests, as in `is eq(…)`."""


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Compiles templates that are charged for what they do while they are rendered in a `budget`.

    Args:
        filters: Besides Jinja's own, by name.
        options: Jinja's own.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *, filters: Mapping[str, Callable[..., Any]], **options: Any) -> None:
        super().__init__(finalize=_charged(charge_whole), **options)
        del self.globals["lipsum"]
        self.filters = {name: _charged_filter(name, function) for name, function in {**self.filters, **filters}.items()}
        prices = {_WRITTEN: charge_whole, _COMPARED: _charge_comparison, _SEARCHED: charge_scan, _CUT: _charge_result}
        self.filters |= {_STEP: _step, **{name: _at_run_time(_charged(price)) for name, price in prices.items()}}
        for name in _COMPARISONS:
            self.tests[name] = _charged_test(self.tests[name])  # type: ignore[arg-type]

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Joins what a template, a macro or a block wrote."""
        written = list(pieces)
        charge(sum(map(len, written)))
        return "".join(written)

    def bounded_from_string(self, source: str) -> Template:
        """Compiles a template."""
        tree = _Charging().visit(self.parse(source))
        tree.set_environment(self)
        return self.from_string(tree)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Does a binary operation, after charging for it."""
        charge_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Subscribes; a tuple is hashed whole."""
        if isinstance(argument, tuple):
            charge_whole(argument)
        return super().getitem(obj, argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Calls, after charging for it."""
        charge(_UNITS_OF_A_CALL)
        if isinstance(__obj, Macro | LoopContext):
            charge(sum(len(value) for value in args if isinstance(value, list | tuple | range)))
        else:
            args = _charged_arguments(__obj, args, kwargs)
        result = super().call(__context, __obj, *args, **kwargs)
        if isinstance(getattr(__obj, "__self__", None), str | bytes):
            charge_whole(result)  # `split` and `partition` copy
        else:
            _charge_result(result)
        return result

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` and `str.format_map`, charged for."""
        if super().wrap_str_format(value) is None:
            return None
        text: str = value.__self__

        def charged(*args: Any, **kwargs: Any) -> str:
            if value.__name__ == "format_map":
                (kwargs,), args = args, ()
            formatter = _EscapeFormatter(self, escape=text.escape) if isinstance(text, Markup) else _Formatter(self)
            return type(text)(formatter.vformat(text, args, kwargs))

        return charged


class _Formatter(SandboxedFormatter):
    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        value, first = super().get_field(field_name, args, kwargs)
        charge_whole(value)
        return value, first

    def format_field(self, value: Any, format_spec: str) -> Any:
        charge_spec(format_spec)
        return super().format_field(value, format_spec)


class _EscapeFormatter(_Formatter, SandboxedEscapeFormatter):
    pass


def _charged_arguments(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    name, owner = getattr(function, "__name__", ""), getattr(function, "__self__", None)
    charge_scan(owner)
    if name == "join" and isinstance(owner, str | bytes) and len(args) == 1:
        args = (list(args[0]),)
        charge(len(owner) * len(args[0]))
    elif name in METHODS and (isinstance(owner, str | bytes | int) or owner is int):
        METHODS[name](owner, *args, **kwargs)
    elif isinstance(owner, list | tuple):
        charge_whole(owner)  # `index` and `count` compare
    charge_whole([*args, *kwargs.values()])
    return args


def _charge_result(result: Any) -> None:
    if isinstance(result, str | bytes | list | tuple | dict):
        charge(len(result))


def _charge_comparison(value: Any) -> None:
    if isinstance(value, WHOLES):
        charge_whole(value)
    else:
        charge_scan(value)


def _charged(price: Callable[[Any], None]) -> Callable[[Any], Any]:
    """Charges for a value, and hands on that very value."""

    def charged(value: Any) -> Any:
        price(value)
        return value

    return charged


def _at_run_time(function: Callable[[Any], Any]) -> Callable[..., Any]:
    """As a filter that Jinja doesn't compute while it compiles: it wants the context."""

    @pass_context
    def called(context: Context, value: Any) -> Any:
        return function(value)

    return called


def _charged_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    passed = getattr(getattr(function, "jinja_pass_arg", None), "name", None)

    # Jinja computes filters of constants while it compiles, unless they want the context.
    @pass_context
    @functools.wraps(function)
    def charged(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        if name in ("join", "sum"):
            value = list(value)
        if name == "tojson":  # separators may come one by one
            args = tuple(map(_listed, args))
            kwargs = {key: _listed(each) for key, each in kwargs.items()}
        _charge_filter(name, value, args, kwargs)
        first = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}
        result = function(*([first[passed]] if passed else []), value, *args, **kwargs)
        _charge_result(result)
        return result

    return charged


def _charge_filter(name: str, value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    given = [*args, *kwargs.values()]
    if name == "tojson":
        given += [part for each in given if isinstance(each, WHOLES) for part in [*each][:2]]  # separators
    units = sum(abs(each) if isinstance(each, int) else len(each) for each in given if isinstance(each, int | str))
    if name in _SHALLOW:
        charge(4 * len(value) if isinstance(value, list | tuple | range | dict) else 1)
        if (name == "round" and units > _MOST_DIGITS) or (
            name == "int" and isinstance(value, str) and len(value) > _MOST_DIGITS
        ):
            raise BudgetError("it computes with huge integers")
        return
    if name == "tojson":
        # The indent comes before every item, once for each level.
        charge_whole(value, units, units)
        return
    charge_whole(value)
    if name == "format":
        charge_percent(str(value), kwargs or args)
    elif name == "replace":
        named = [kwargs[key] for key in ("old", "new")[len(args) :] if key in kwargs]
        METHODS[name](str(value), *map(str, [*args[:2], *named]))
    elif name == "trim":
        METHODS["strip"](str(value), *args, **kwargs)
    elif name in ("join", "sum"):
        for _ in range(len(value) if name == "sum" and any(isinstance(each, list | tuple) for each in value) else 1):
            charge_whole(value)
        charge(units * len(value))
    else:
        # As often as there are places in the text: lines, words.
        charge(units * (len(value) if isinstance(value, str) and name in ("indent", "wordwrap", "urlize") else 1))


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, Iterator) else value


def _charged_test(function: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(function)
    def charged(*values: Any) -> bool:
        charge_whole(values)
        return function(*values)

    return charged


@pass_context
def _step(context: Context, weight: Any) -> bool:
    charge(max(1, weight) if isinstance(weight, int) else 1)
    return True


class _Charging(NodeTransformer):
    """Puts a price on everything that can be done again and again: loops, macros, blocks; and on comparisons."""

    def _visit_repeated(self, node: Any) -> Any:
        self.generic_visit(node)
        weight = sum(1 for statement in node.body for _ in statement.find_all(nodes.Node)) + 1
        node.body.insert(0, nodes.ExprStmt(_filtered(nodes.Const(weight), _STEP), lineno=node.lineno))
        if isinstance(node, nodes.For) and node.test is not None:
            node.test = nodes.And(_filtered(nodes.Const(weight), _STEP), node.test, lineno=node.lineno)
        return node

    visit_For = visit_Macro = visit_CallBlock = visit_Block = _visit_repeated  # noqa: N815 - as jinja2 looks them up

    def visit_Concat(self, node: nodes.Concat) -> Any:  # noqa: N802
        """`~`, which can't be intercepted otherwise; Jinja joins constants while it compiles."""
        self.generic_visit(node)
        if not all(isinstance(part, nodes.Const) for part in node.nodes):
            node.nodes = [_filtered(part, _WRITTEN) for part in node.nodes]
        return node

    def visit_Compare(self, node: nodes.Compare) -> Any:  # noqa: N802
        """A comparison with a constant looks at nothing else, but `in` goes through what is on its right."""
        self.generic_visit(node)
        constant = any(isinstance(part, nodes.Const) for part in (node.expr, *(op.expr for op in node.ops)))
        if not constant:
            node.expr = _filtered(node.expr, _COMPARED)
        for operand in node.ops:
            if not constant:
                operand.expr = _filtered(operand.expr, _COMPARED)
            elif operand.op in ("in", "notin"):
                operand.expr = _filtered(operand.expr, _SEARCHED)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> Any:  # noqa: N802
        """A slice is a copy."""
        self.generic_visit(node)
        return _filtered(node, _CUT) if isinstance(node.arg, nodes.Slice) else node

    def visit_Pair(self, node: nodes.Pair) -> Any:  # noqa: N802
        """A key of a dict is hashed whole."""
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = _filtered(node.key, _COMPARED)
        return node


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=getattr(node, "lineno", None) or 1)
