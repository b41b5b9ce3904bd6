"""Files of the repository outside docs/, as pages of the site: the README, and whatever a page links to.

Links are written as the repository's own view follows them (`../deploy/Dockerfile`, `docs/client.md`). On the site such
a file lies below repository/, in the place it has in the repository: Markdown becomes a page, a folder a list of its
files. A link to a file that isn't there is left as it is: mkdocs reports it, which ends a strict build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PREFIX = "repository/"
FIRST = ("README.md", "README.zh-CN.md", "CHANGELOG.md", "CONTRIBUTING.md")
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds those files, and those that they link to in turn."""
    waiting = [*FIRST, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.startswith("docs/"):
            files.append(_file(path, config))
        found = [target for target in _leads_to(path) if target not in seen and _exists_outside_docs(target)]
        waiting += found
        seen.update(found)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links at the places that files have on the site."""
    source = page.file.src_uri
    origin = source.removeprefix(PREFIX) if source.startswith(PREFIX) else f"docs/{source}"

    def moved(match: re.Match[str]) -> str:
        target = _target(origin, match["path"])
        if not (ROOT / target).exists():
            return match[0]
        return posixpath.relpath(_place(target), posixpath.dirname(source)) + (match["anchor"] or "")

    return LINK.sub(moved, markdown)


def _leads_to(path: str) -> list[str]:
    if (ROOT / path).is_dir():
        return _inside(path)
    if not path.endswith(".md"):
        return []
    return [_target(path, match["path"]) for match in LINK.finditer((ROOT / path).read_text(encoding="utf-8"))]


def _target(page: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _exists_outside_docs(path: str) -> bool:
    return not path.startswith(("docs/", "..")) and (ROOT / path).exists()


def _place(path: str) -> str:
    """Where a file of the repository lies among the site's sources."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{PREFIX}{path}/index.md" if (ROOT / path).is_dir() else PREFIX + path


def _file(path: str, config: MkDocsConfig) -> File:
    if (ROOT / path).is_dir():
        return File.generated(config, _place(path), content=_listing(path))
    return File.generated(config, _place(path), abs_src_path=str(ROOT / path))


def _listing(folder: str) -> str:
    names = [path.removeprefix(f"{folder}/") for path in _inside(folder)]
    return "\n".join([f"# {folder}/", "", *(f"- [{name}]({name})" for name in names), ""])


def _inside(folder: str) -> list[str]:
    return sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / folder).rglob("*") if file.is_file())
