"""Another web page in the user's browser can't drive the playground, and nothing on it comes from elsewhere."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Playground

SCRIPT = Path(sys.executable).parent / "rewardserve"
BODY = {"responses": ["a"]}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "", "[::1", "localhost."]
)
def test_a_foreign_name_for_this_machine(playground: Playground, host: str) -> None:
    """DNS rebinding: the page is of the same origin as what it asks, so only the name tells."""
    host = host.format(port=playground.url.rpartition(":")[2])
    headers = {"Host": host, "Origin": f"http://{host}"}
    for response in (
        playground.http.get("/", headers=headers),
        playground.http.get("/api/model", headers=headers),
        playground.http.post("/api/score", json=BODY, headers=headers),
    ):
        assert response.status_code == 403
        assert "Remedy" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "https://{host}", "http://{host}.evil.example", "http://127.0.0.1"]
)
def test_a_foreign_origin(playground: Playground, origin: str) -> None:
    headers = {"Origin": origin.format(host=playground.url.removeprefix("http://"))}
    assert playground.http.post("/api/score", json=BODY, headers=headers).status_code == 403
    assert playground.http.post("/api/pairs", json={}, headers=headers).status_code == 403
    assert playground.http.get("/api/model", headers=headers).status_code == 403


def test_no_origin(playground: Playground) -> None:
    del playground.http.headers["Origin"]
    try:
        assert playground.http.post("/api/score", json=BODY).status_code == 403
        assert playground.http.get("/").status_code == 200  # as a browser opens it
    finally:
        playground.http.headers["Origin"] = playground.url


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine(playground: Playground, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert playground.http.post("/api/score", json=BODY, headers=headers).status_code == 200


def test_only_json_is_read(playground: Playground) -> None:
    """Pages may send forms and plain text anywhere without asking."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        response = playground.http.post("/api/score", content=b'{"responses": ["a"]}', headers={"Content-Type": kind})
        assert response.status_code == 415


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/model", "/missing"])
def test_headers(playground: Playground, path: str) -> None:
    headers = playground.http.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers


def test_the_page_names_no_other_place() -> None:
    page = files("rewardserve_server.playground") / "page"
    names = {file.name: file.read_text() for file in page.iterdir()}
    assert {"index.html", "page.js", "page.css"} <= set(names)
    for name, content in names.items():
        assert set(re.findall(r"https?://[^\s\"']+", content)) <= {"http://www.w3.org/2000/svg"}, name
        assert "innerHTML" not in content


def test_the_command(playground: Playground, served: str) -> None:
    assert playground.lines == [f"ready: model reward at {served}\n", f"  open {playground.url}\n"]
    assert playground.url.startswith("http://127.0.0.1:")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [SCRIPT, "playground", "--port", str(listener.getsockname()[1])]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "can't be bound" in ended.stderr
