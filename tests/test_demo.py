"""The parts of `make demo`. The demo itself takes minutes, and runs by its own command."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from rewardserve_training import fit_value_head
from torch.nn.functional import logsigmoid

EXAMPLES = Path(__file__).parent.parent / "examples"
FIELDS = ("prompt", "chosen", "rejected", "flaw")
ROWS = [json.loads(line) for line in (EXAMPLES / "preferences.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def demo() -> Iterator[ModuleType]:
    """examples/demo.py as a module."""
    import sys

    sys.path.insert(0, str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(EXAMPLES))


def random_pairs(count: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    chosen, rejected = torch.randn(2, count, width, generator=random)
    return chosen, rejected


def test_pairs_have_their_fields() -> None:
    assert len(ROWS) >= 96
    for row in ROWS:
        assert tuple(row) == FIELDS
        assert all(isinstance(row[name], str) and row[name].strip() == row[name] != "" for name in FIELDS)
        assert row["chosen"] != row["rejected"]


@pytest.mark.parametrize("field", ["prompt", "chosen", "rejected"])
def test_no_pair_occurs_twice(field: str) -> None:
    assert len({row[field].lower() for row in ROWS}) == len(ROWS)


def test_enough_pairs_on_both_sides(demo: ModuleType) -> None:
    assert len(ROWS) - demo.HELD_OUT >= 64
    assert demo.HELD_OUT >= 32
    flaws = {row["flaw"] for row in ROWS[: -demo.HELD_OUT]}
    assert {row["flaw"] for row in ROWS[-demo.HELD_OUT :]} <= flaws


def test_text_is_the_whole_conversation(demo: ModuleType) -> None:
    pair = demo.Pair(prompt="2 + 2?", chosen="4", rejected="5", flaw="wrong")
    text = "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>"
    assert pair.text("4") == text
    assert pair.texts == [text, text.replace("\n4<", "\n5<")]


def test_separable_pairs_are_ranked_right() -> None:
    chosen, rejected = random_pairs(200, 8)
    direction = torch.linspace(-1, 1, 8)
    # The same along this direction but for a margin: separable, though noise is all that most features tell.
    chosen -= ((chosen - rejected) @ direction - 1)[:, None] * direction / direction.square().sum()
    weight = fit_value_head(chosen, rejected, l2=1e-4)
    assert weight.shape == (1, 8)
    assert weight.dtype == torch.float32
    assert bool(((chosen - rejected) @ weight[0] > 0).all())


def test_the_result_is_the_minimum() -> None:
    """Its gradient is zero, written out here once more, for features far from unit scale."""
    l2 = 0.01
    chosen, rejected = random_pairs(100, 6)
    chosen, rejected = (chosen + 0.3) * torch.logspace(-2, 2, 6), rejected * torch.logspace(-2, 2, 6)
    scale = torch.cat([chosen, rejected]).double().std(0)
    weight = fit_value_head(chosen, rejected, l2=l2)[0].double() * scale
    weight.requires_grad_()
    difference = (chosen.double() - rejected.double()) / scale
    loss = -logsigmoid(difference @ weight).mean() + l2 * weight.square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    # float32 weights, and where L-BFGS stops; at zero weights the gradient is some 0.1.
    assert gradient.abs().max() < 1e-5


def test_features_that_never_vary_do_no_harm() -> None:
    chosen, rejected = random_pairs(50, 3)
    chosen[:, 1] = rejected[:, 1] = 7.0
    weight = fit_value_head(chosen, rejected, l2=0.01)
    assert bool(weight.isfinite().all())
    assert weight[0, 1] == 0


@pytest.mark.parametrize(
    ("chosen", "rejected"), [((3, 4), (3, 5)), ((3, 4), (2, 4)), ((0, 4), (0, 4)), ((4,), (4,)), ((1, 3, 4), (1, 3, 4))]
)
def test_shapes_that_do_not_fit_are_refused(chosen: tuple[int, ...], rejected: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"two equal, non-empty \[P, H\]"):
        fit_value_head(torch.zeros(chosen), torch.zeros(rejected), l2=0.01)
