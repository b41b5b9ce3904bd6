"""The page in a real browser, headless."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Playground
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)")

ATTACK = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 1</script> & \"so on\""
SECONDS = 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, playground: Playground) -> Iterator[Page]:
    """The page, opened. Nothing may come from elsewhere, or go wrong in it unnoticed."""
    page = browser.new_page()
    page.set_default_timeout(SECONDS * 1000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: problems.append(request.url) if playground.url not in request.url else None)
    page.goto(playground.url)
    page.locator("#model", has_text="version 1").wait_for()
    yield page
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script").count() == 0
    assert [text for text in problems if "status of 4" not in text] == []  # Chromium's own note of an answer
    page.close()


def compare(page: Page, *responses: str) -> list[float]:
    """Fills the responses in, scores them, and gives the rewards as shown."""
    while page.get_by_label("response", exact=True).count() < len(responses):
        page.click("#add-response")
    for field, response in zip(page.get_by_label("response", exact=True).all(), responses, strict=True):
        field.fill(response)
    page.click("#compare button.main")
    page.locator(".ranking li").nth(len(responses) - 1).wait_for()
    return [float(text.replace("\N{MINUS SIGN}", "-")) for text in page.locator(".reward").all_inner_texts()]


def test_responses_are_ranked(page: Page, playground: Playground) -> None:
    page.get_by_label("Text", exact=True).check()
    page.get_by_role("textbox", name="Prompt").fill("What is 2 + 2? ")
    responses = ["It is 4.", "It is 5.", "Who knows?"]
    rewards = compare(page, *responses)
    results = playground.score({"prompt": "What is 2 + 2? ", "responses": responses})
    expected = sorted(
        ((result["rewards"][0], text) for result, text in zip(results, responses, strict=True)), reverse=True
    )
    assert rewards == pytest.approx([reward for reward, _ in expected], abs=1e-4)
    assert page.locator(".ranking .text").all_inner_texts() == [text for _, text in expected]


def test_tokens_have_their_values(page: Page, playground: Playground) -> None:
    page.get_by_label("Text", exact=True).check()
    compare(page, "It is 4.", "It is 4, I am sure.")
    tokens = page.locator(".ranking li").filter(has_text="I am sure").locator(".token")
    (_, result) = playground.score({"responses": ["It is 4.", "It is 4, I am sure."]})
    titles = [tokens.nth(index).get_attribute("title") or "" for index in range(tokens.count())]
    values = [float(title.split("\n")[0].replace("\N{MINUS SIGN}", "-")) for title in titles]
    assert values == pytest.approx([token["value"] for token in result["tokens"]], abs=1e-4)
    assert "".join(tokens.all_inner_texts()) == "It is 4, I am sure."
    colours = {
        values[index]: tokens.nth(index).evaluate("token => getComputedStyle(token).backgroundColor")
        for index in range(len(values))
    }
    assert colours[min(values)] != colours[max(values)]


def test_texts_stay_texts(page: Page) -> None:
    page.get_by_label("Text", exact=True).check()
    page.get_by_role("textbox", name="Prompt").fill(ATTACK)
    compare(page, ATTACK, "harmless")
    assert ATTACK in page.locator(".ranking .text").all_inner_texts()
    assert ATTACK in "".join(page.locator(".ranking li").first.locator(".token").all_inner_texts())


def test_a_conversation(page: Page, playground: Playground) -> None:
    """The model has a template, so that is what the page begins with."""
    page.get_by_label("message", exact=True).fill("What is 2 + 2?")
    page.click("#add-message")
    page.get_by_label("role").nth(1).select_option("assistant")
    page.get_by_label("message", exact=True).nth(1).fill("Do you mean it?")
    rewards = compare(page, "It is 4.", "It is 5.")
    messages = [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "Do you mean it?"}]
    results = playground.score({"messages": messages, "responses": ["It is 4.", "It is 5."]})
    expected = sorted((result["rewards"][0] for result in results), reverse=True)
    assert rewards == pytest.approx(expected, abs=1e-4)


def test_errors_are_shown_and_go_away(page: Page) -> None:
    page.get_by_label("Text", exact=True).check()
    page.get_by_label("response", exact=True).first.fill("a")
    page.click("#compare button.main")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text().startswith("EmptyTextError: item 1: is empty: there is no token to score. Remedy:")
    compare(page, "a", "b")
    assert alert.count() == 0 or not alert.is_visible()


def test_pairs(page: Page, pairs_file: Path) -> None:
    page.get_by_role("tab", name="Pairs").click()
    page.set_input_files("#file", pairs_file)
    page.click("#evaluate button.main")
    page.locator("#rows tbody tr").nth(2).wait_for()
    assert re.search(r"accuracy\s+\d+\.\d%", page.locator(".tiles").inner_text())
    assert page.locator("figure rect").count() >= 2
    assert "<img src=x" in page.locator("#subsets").inner_text()

    margins = page.locator("#rows tbody td:nth-child(7)")
    for compared in (sorted, lambda values: sorted(values, reverse=True)):
        page.get_by_role("button", name="margin").click()
        shown = [float(text.replace("\N{MINUS SIGN}", "-")) for text in margins.all_inner_texts()]
        assert shown == compared(shown)
        assert len(shown) == 3

    row = page.locator("#rows tbody tr", has_text="It is 6.")
    rewards = [row.locator("td").nth(column).inner_text() for column in (3, 5)]
    row.get_by_role("button", name="compare").click()
    page.locator(".ranking li").nth(1).wait_for()
    assert page.get_by_role("textbox", name="Prompt").input_value() == "What is 3 + 3? "
    assert sorted(page.locator(".reward").all_inner_texts()) == sorted(rewards)


def test_the_given_file_and_a_wrong_one(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Pairs").click()
    page.get_by_role("button", name="Evaluate three pairs.jsonl").click()
    page.locator("#rows tbody tr").nth(2).wait_for()
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"chosen": "<img src=x onerror=alert(1)>"}')
    page.set_input_files("#file", wrong)
    page.get_by_role("button", name="Evaluate", exact=True).click()
    page.get_by_role("alert").filter(has_text="PreferencesError: pairs.jsonl, line 1, field `rejected`").wait_for()
    assert page.locator("#rows").count() == 0


def test_labels(browser: Browser, with_labels: Playground) -> None:
    page = browser.new_page()
    page.goto(with_labels.url)
    page.locator("#model", has_text="no values at tokens").wait_for()
    rewards = compare(page, "It is 4.", "It is five.")
    assert rewards == sorted(rewards, reverse=True)
    page.get_by_label("Ranked by").select_option("<b>harmless</b>")
    others = [float(text.replace("\N{MINUS SIGN}", "-")) for text in page.locator(".reward").all_inner_texts()]
    assert others == sorted(others, reverse=True)
    assert set(others).isdisjoint(rewards)
    page.close()


def test_narrow_screens(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    compare(page, "word " * 20, "a" * 90)
    page.get_by_role("tab", name="Pairs").click()
    page.click("#evaluate button.main")
    page.locator("#rows").wait_for()
    for tab in ("Pairs", "Responses"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_another_page_cannot_drive_it(browser: Browser, playground: Playground) -> None:
    """Scripts get no answer, and a form, which a browser sends anywhere without asking, gets a 403."""
    page = browser.new_page()
    page.route(
        "http://127.0.0.1:9/",
        lambda route: route.fulfill(body=FOREIGN.format(url=playground.url), content_type="text/html"),
    )
    page.goto("http://127.0.0.1:9/")
    outcomes = page.evaluate(
        """async (url) => {
            const post = (mode, type) => fetch(url + "/api/score",
                {method: "POST", mode, headers: {"Content-Type": type}, body: '{"responses": ["a"]}'});
            const outcome = (promise) => promise.then((response) => response.type, () => "refused");
            return [await outcome(post("cors", "application/json")), await outcome(post("no-cors", "text/plain")),
                    await outcome(fetch(url + "/api/model"))];
        }""",
        playground.url,
    )
    assert outcomes == ["refused"] * 3
    with page.expect_response(f"{playground.url}/api/score") as answered:
        page.click("button")
    assert answered.value.status == 403
    page.close()


FOREIGN = """<form action="{url}/api/score" method="post" enctype="text/plain">
<input name='{{"responses": ["a"], "x": "' value='"}}'><button>win a prize</button></form>"""
