"""The status page in a real Chromium: with no, one and 10,000 runs, in both languages, with and without JavaScript, by
keyboard, for people who can't see it, and with a run whose name attacks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.xdist_group("browser")

Open = Callable[..., "Page"]
HERE = "http://127.0.0.1:"
AXE: dict[str, dict[str, Any]] = {
    "light": {"resultTypes": ["violations"]},
    "dark": {"resultTypes": ["violations"], "runOnly": ["color-contrast"]},  # all that a scheme changes
}
PAGES = ("/", "/runs", "/policies", "/integrations")


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Open]:
    """Opens an address in a context of its own; whatever the browser complains of, or asks of elsewhere, fails."""
    with ExitStack() as contexts:
        faults: list[str] = []

        def opened(url: str, **options: Any) -> Page:
            context = contexts.enter_context(chromium.new_context(**{"locale": "en-GB", **options}))
            page = context.new_page()
            page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", lambda asked: None if asked.url.startswith(HERE) else faults.append(asked.url))
            page.goto(url)
            return page

        yield opened
        assert not faults


def first_run(page: Page) -> str:
    """The address of the first run of a list."""
    return page.locator("table.runs tbody th a").first.get_attribute("href") or ""


def test_a_service_that_saw_nothing_is_grey_and_says_what_to_do(nothing: str, visit: Open) -> None:
    page = visit(nothing)
    assert page.locator("h1").inner_text() == "Nothing evaluated yet"
    assert page.locator(".hero .lamps").get_attribute("class") == "lamps l-grey"
    assert page.locator(".l-green").count() == 0
    assert "venturalitica-agent run" in page.locator(".hero").inner_text()
    page.get_by_role("link", name="Runs", exact=True).first.click()
    assert "No run was seen yet" in page.locator("#found").inner_text()


def test_the_verdict_and_the_worst_finding_are_seen_without_scrolling(one: str, visit: Open) -> None:
    page = visit(f"{one}/runs", viewport={"width": 1280, "height": 900})
    page.goto(one + first_run(page))
    assert page.locator("h1 .status").inner_text() == "error"
    statuses = page.locator(".finding h3 .status").all_inner_texts()
    assert statuses == ["error", "fail", "inconclusive", "pass"]
    failed = page.locator(".finding.s-fail")
    assert "ratio 0.686" in failed.locator(".sentence").inner_text()
    assert "would have to be at least 0.605" in failed.locator(".remedy").inner_text()
    box = page.locator(".finding.s-error").bounding_box()
    assert box is not None
    assert box["y"] < 900
    picture = failed.locator(".drawing svg").bounding_box()
    assert picture is not None
    assert picture["width"] > 300


def test_a_name_that_attacks_is_only_text(one: str, visit: Open) -> None:
    page = visit(one)
    for path in ("/", "/runs", "/integrations"):
        page.goto(one + path)
        assert page.locator("main img").count() == 0
    page.goto(f"{one}/runs")
    page.goto(one + first_run(page))
    assert page.evaluate("window.pwned") is None
    assert page.locator("h1 bdi").inner_text().startswith('<img src=x onerror="window.pwned=1">')
    assert len(page.locator("h1 bdi").inner_text()) <= 80
    assert "\u202e" not in page.content()
    schemes = page.eval_on_selector_all("a[href]", "links => links.map(a => a.protocol)")
    assert set(schemes) <= {"http:", "https:"}


def test_nothing_is_wider_than_a_small_telephone(one: str, many: str, visit: Open) -> None:
    page = visit(one, viewport={"width": 360, "height": 740}, locale="es-ES")
    page.goto(f"{one}/runs")
    run = one + first_run(page)
    for url in (*(one + path for path in PAGES), run, many, f"{many}/runs"):
        page.goto(url)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, url


def test_the_filter_of_ten_thousand_runs_swaps_the_table_and_the_address(many: str, visit: Open) -> None:
    page = visit(f"{many}/runs")
    assert page.locator(".told").inner_text() == "1–50 of 10,000 runs"
    page.evaluate("document.body.dataset.same = 'yes'")
    page.get_by_label("Status").select_option("fail")
    expect(page.locator(".told")).to_have_text("1–30 of 30 runs")
    assert page.url == f"{many}/runs?status=fail"
    assert set(page.locator("#found .status").all_inner_texts()) == {"fail"}
    assert page.evaluate("document.body.dataset.same") == "yes"  # the same document: only the table was swapped
    page.go_back()
    expect(page.locator(".told")).to_have_text("1–50 of 10,000 runs")
    page.get_by_label("Name or id").fill("logistic-77")
    expect(page.locator(".told")).to_have_text("One run.")
    assert page.url == f"{many}/runs?text=logistic-77"


def test_pages_are_turned_forth_and_back(many: str, visit: Open) -> None:
    page = visit(f"{many}/runs")
    first = first_run(page)
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(".told")).to_have_text("51–100 of 10,000 runs")
    page.reload()
    expect(page.locator(".told")).to_have_text("51–100 of 10,000 runs")
    page.get_by_role("link", name="Previous page").click()
    expect(page.locator(".told")).to_have_text("1–50 of 10,000 runs")
    assert first_run(page) == first


def test_everything_works_without_javascript(many: str, visit: Open) -> None:
    page = visit(many, java_script_enabled=False)
    page.get_by_role("link", name="30 fail").first.click()
    assert page.url == f"{many}/runs?status=fail"
    page.get_by_label("Name or id").fill("logistic-1")
    page.get_by_role("button", name="Show").click()
    assert page.url == f"{many}/runs?text=logistic-1&status=fail"
    page.goto(f"{many}/runs")
    page.get_by_role("link", name="Next page").click()
    assert page.locator(".told").inner_text() == "51–100 of 10,000 runs"
    page.locator("table.runs tbody th a").first.click()
    page.locator(".finding summary").first.click()
    assert page.locator(".finding table").first.is_visible()
    page.get_by_role("link", name="Español").click()
    assert page.locator("html").get_attribute("lang") == "es"
    page.get_by_role("link", name="Políticas").click()
    assert page.locator("h1").inner_text() == "Políticas"


def test_a_keyboard_is_enough(many: str, visit: Open) -> None:
    page = visit(many)

    def focused(script: str) -> Any:
        return page.evaluate(f"document.activeElement.{script}")

    page.keyboard.press("Tab")
    assert focused("textContent") == "Skip to the content"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    assert focused("id") == "main"
    page.keyboard.press("Tab")
    assert "fail" in focused("textContent")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs?status=fail")
    for _ in range(60):
        page.keyboard.press("Tab")
        if re.match(r"/runs/[0-9a-f]+/", focused("getAttribute('href')") or ""):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*/*")
    for _ in range(60):
        page.keyboard.press("Tab")
        if focused("tagName") == "SUMMARY":
            break
    page.keyboard.press("Enter")
    assert page.locator(".finding details[open]").count() == 1


def test_the_pages_speak_spanish_and_mark_what_does_not(one: str, visit: Open) -> None:
    page = visit(one, locale="es-ES")
    assert page.locator("html").get_attribute("lang") == "es"
    assert page.locator("h1").inner_text() == "Un veredicto no se pudo alcanzar"
    assert page.locator("nav.pages a").all_inner_texts() == ["Resumen", "Ejecuciones", "Políticas", "Integraciones"]
    page.goto(f"{one}/runs")
    page.goto(one + first_run(page))
    assert page.locator(".finding.s-fail .sentence").inner_text().startswith("Tasa de selección de female: 0,519")
    assert page.locator(".finding.s-fail .sentence [lang=en]").count() == 0
    page.get_by_role("link", name="English").click()
    assert page.locator("html").get_attribute("lang") == "en"
    page.goto(f"{one}/policies")
    assert page.locator("html").get_attribute("lang") == "en"  # it is remembered


def test_paper_shows_what_is_folded_away_and_nothing_to_press(one: str, visit: Open) -> None:
    page = visit(f"{one}/runs")
    page.goto(one + first_run(page))
    table = page.locator(".finding.s-fail table")
    assert not table.is_visible()
    page.emulate_media(media="print")
    assert table.is_visible()
    assert not page.locator("nav.pages").is_visible()


def test_checking_again_is_a_button_that_works(one: str, visit: Open) -> None:
    page = visit(f"{one}/integrations")
    page.get_by_role("button", name="Check again").click()
    assert page.url == f"{one}/integrations"
    assert page.locator("h1").inner_text() == "Integrations"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_object_to(nothing: str, one: str, many: str, visit: Open, scheme: str) -> None:
    page = visit(nothing, color_scheme=scheme, locale="es-ES" if scheme == "dark" else "en-GB")
    page.goto(f"{one}/runs")
    run = one + first_run(page)
    urls = [nothing, one, run, f"{one}/policies", f"{one}/integrations", many, f"{many}/runs"]
    for url in urls:
        page.goto(url)
        for folded in page.locator("details:not([open]) summary").all()[:2]:
            folded.click()
        found = Axe().run(page, options=AXE[scheme])
        assert found.violations_count == 0, (url, found.generate_report())
