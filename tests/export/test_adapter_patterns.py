"""Expressions in an adapter's configuration: those that trainers write pass, those that take for ever don't."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rewardserve import CheckpointError
from rewardserve_export.checkpoint._adapter_patterns import check_patterns

UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:q_proj|k_proj|v_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)"
    r"\.(?:(?:q_proj|k_proj|v_proj)))"
)
SWIFT = r"^(model.language_model(?=\.).*\.(q_proj|v_proj|up_proj))$"


@pytest.mark.parametrize("pattern", [UNSLOTH, SWIFT, r".*\.(q|v)_proj", "all-linear"])
def test_those_that_trainers_write(pattern: str) -> None:
    re.compile(pattern)
    check_patterns(Path("adapter_config.json"), {"target_modules": pattern, "rank_pattern": {pattern: 8}})


@pytest.mark.parametrize("pattern", ["(a+)+b", "(.*)*x", ".*.*.*.*.*.*x"])
@pytest.mark.parametrize("name", ["target_modules", "rank_pattern"])
def test_those_that_take_for_ever(pattern: str, name: str) -> None:
    value = {pattern: 8} if name == "rank_pattern" else [pattern]
    with pytest.raises(CheckpointError, match=rf"in {name}, which may take hours.*Remedy: list the modules by name"):
        check_patterns(Path("adapter_config.json"), {name: value})
