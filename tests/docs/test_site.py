"""Builds the site of docs/, strictly: every link leads somewhere, every page is in the navigation."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from rewardserve.cli import app

PROJECT = Path(__file__).parents[2]
PACKAGES = [
    "client/rewardserve",
    "export/rewardserve_export",
    "server/rewardserve_server",
    "training/rewardserve_training",
    "evaluation/rewardserve_evaluation",
]
INTEGRATIONS = ["openrlhf", "ray", "trl", "verl"]
MODULES = [f"{package}/__init__.py" for package in PACKAGES] + [
    f"client/rewardserve/integrations/{name}.py" for name in INTEGRATIONS
]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    built = build(PROJECT, directory)
    assert built.returncode == 0, built.stderr
    return directory


@pytest.fixture(scope="module")
def anchors(site: Path) -> set[str]:
    """Of all pages of the reference."""
    pages = (site / "reference").rglob("*.html")
    return {anchor for page in pages for anchor in re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8"))}


def public_names(module: str) -> list[str]:
    """What the module lists in `__all__`, without importing it: some need packages that aren't installed."""
    package = ".".join(Path(module).with_suffix("").parts[1:]).removesuffix(".__init__")
    for node in ast.parse((PROJECT / module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return [f"{package}.{name}" for name in ast.literal_eval(node.value)]
    pytest.fail(f"{module} has no __all__")


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_has_every_public_name(anchors: set[str], module: str) -> None:
    names = public_names(module)
    assert names
    assert [name for name in names if name not in anchors] == []


def test_the_reference_has_every_command_and_option(anchors: set[str], site: Path) -> None:
    page = (site / "reference" / "cli" / "index.html").read_text(encoding="utf-8")
    for name, command in COMMANDS.items():
        assert f"rewardserve-{name}" in anchors
        section = page.partition(f'id="rewardserve-{name}"')[2].partition('id="rewardserve-')[0]
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        assert [option for option in options if not re.search(rf"<code>[^<]*{option}\b", section)] == []


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    foreign = re.compile(
        r"""<(?:script|link|img|iframe)[^>]+\b(?:src|href)=["']?(?:https?:)?//|@import|url\(["']?https?:"""
    )
    files = [file for file in site.rglob("*") if file.suffix in {".html", ".css"}]
    assert len(files) > 20
    assert [file for file in files if foreign.search(file.read_text(encoding="utf-8"))] == []


def test_the_search_index_has_all_kinds_of_pages(site: Path) -> None:
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    locations = {entry["location"].partition("#")[0] for entry in found["docs"]}
    assert {"contract/", "reference/cli/", "reference/client/", "repository/", "repository/README.zh-CN/"} <= locations


def test_files_that_pages_link_to_are_there(site: Path) -> None:
    assert (site / "repository/deploy/Dockerfile").read_bytes() == (PROJECT / "deploy/Dockerfile").read_bytes()
    assert 'href="Dockerfile"' in (site / "repository/deploy/index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("link", ["../no-such-file.md", "no-such-page.md", "index.md#no-such-anchor"])
def test_a_link_that_leads_nowhere_fails(tmp_path: Path, link: str) -> None:
    shutil.copytree(PROJECT / "docs" / "hooks", tmp_path / "docs" / "hooks")
    for name in ("README.md", "README.zh-CN.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        (tmp_path / name).write_text("# A page\n")
    config = "site_name: test\nhooks: [docs/hooks/repository.py]\nexclude_docs: hooks/\nvalidation: {anchors: warn}\n"
    (tmp_path / "mkdocs.yml").write_text(config)
    page = tmp_path / "docs" / "index.md"
    page.write_text("# Start\n[the README](../README.md)\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode == 0, built.stderr
    page.write_text(f"# Start\n[a link]({link})\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode == 1
    assert f"contains a link '{link}'" in built.stderr
