"""The page in a real Chromium: phone and desktop, light and dark, and on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from profiles import write_profile
from report_inputs import (
    LONG_NAME,
    make_bundle,
    make_counts,
    make_full_profile,
    write_cost,
    write_distillation,
    write_json,
    write_runs,
)

from edgekit.report import write_report

pytestmark = pytest.mark.heavy

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-sync", "--disable-component-update",
)  # fmt: skip
PHONE, DESKTOP = 360, 1280

#: Of every drawing: texts that lie over each other or leave it, and the smallest text, in pixels of the screen.
DRAWINGS = """() => [...document.querySelectorAll('svg.plot')].map(svg => {
  const frame = svg.getBoundingClientRect(), scale = frame.width / svg.viewBox.baseVal.width;
  const texts = [...svg.querySelectorAll('text')].map(node => ({
    words: node.textContent, box: node.getBoundingClientRect(), size: parseFloat(getComputedStyle(node).fontSize)}));
  const faults = [];
  texts.forEach(({words, box}, at) => {
    if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5 ||
        box.top < frame.top - 0.5 || box.bottom > frame.bottom + 0.5) faults.push('outside: ' + words);
    for (const other of texts.slice(at + 1)) {
      const wide = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
      const high = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
      if (wide > 0.5 && high > 1) faults.push('overlap: ' + words + ' | ' + other.words);
    }
  });
  return {name: svg.querySelector('title').textContent, texts: texts.length, width: frame.width, faults,
          smallest: scale * Math.min(...texts.map(text => text.size))};
})"""

#: What sticks out of the page at its right.
OVERFLOW = """() => [...document.body.querySelectorAll('*')]
  .filter(node => !node.closest('thead'))
  .filter(node => node.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(node => node.tagName + ' ' + node.className).slice(0, 5)"""

#: The text with the least contrast against what lies behind it, by WCAG 2's formula.
CONTRAST = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = rgb => rgb.slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.body.querySelectorAll('*')) {
    const own = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
    if (!own || node.closest('defs, title, desc, [aria-hidden]')) continue;
    const style = getComputedStyle(node), svg = node.namespaceURI.endsWith('svg');
    const [a, b] = [luminance(parse(svg ? style.fill : style.color)), luminance(behind(node))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.tagName + ': ' + node.textContent.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0])[0].concat(found.length);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: apt-get install chromium")
    sync = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'edgekit[dev]'")
    with sync.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Everything there is, under long names; one run and nothing else; names that are meant to do harm."""
    folder = tmp_path_factory.mktemp("pages")
    runs = write_runs(folder)
    counts = [write_json(folder / f"{core}.json", make_counts(core)) for core in ("cortex-a72", "cortex-a76")]
    costs = [write_cost(folder / "cost.json", runs[0]), write_distillation(folder)]
    evil = "</script><script>document.title = 'harm'</script>" + "W" * 300
    bundles = [make_bundle(folder / str(at), f"{LONG_NAME}-{at}") for at in range(3)]
    inputs = {
        "everything": [*bundles, *runs, *costs, *counts],
        "little": [write_profile(folder / "little.json")],
        "evil": [make_bundle(folder / "evil", evil), write_json(folder / "evil.json", make_full_profile(evil))],
    }
    for name, paths in inputs.items():
        write_report(paths, folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in inputs}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, 800, DESKTOP])
@pytest.mark.parametrize("name", ["everything", "little", "evil"])
def test_the_page_is_readable(browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[name].as_uri())
    drawings = page.evaluate(DRAWINGS)
    assert len(drawings) >= (2 if name == "little" else 8)
    assert [d for d in drawings if d["faults"] or not d["texts"]] == []
    assert min(d["smallest"] for d in drawings) >= 9
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERFLOW) == []
    contrast, text, count = page.evaluate(CONTRAST)
    assert count > 50
    assert contrast >= 4.5, text
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert said == []
    assert page.title() != "harm"
    context.close()


def test_on_paper_it_is_light_and_fits(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context(viewport={"width": 700, "height": 1000}, color_scheme="dark")
    page = context.new_page()
    page.goto(pages["everything"].as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(OVERFLOW) == []
    assert [d["faults"] for d in page.evaluate(DRAWINGS) if d["faults"]] == []
    contrast, text, _ = page.evaluate(CONTRAST)
    assert contrast >= 4.5, text
    assert page.pdf(format="A4").startswith(b"%PDF")
    context.close()


def test_a_screen_reader_hears_each_drawing_and_table(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context(viewport={"width": PHONE, "height": 800})
    page = context.new_page()
    page.goto(pages["everything"].as_uri())
    images = page.get_by_role("img")
    assert images.count() == page.locator("figure").count()
    assert page.get_by_role("img", name="Cost of a million predictions").count() == 2
    heads = page.get_by_role("table").count()
    assert heads == page.locator("table").count() > 10
    assert page.get_by_role("rowheader", name="Distil", exact=False).count() >= 1
    context.close()
