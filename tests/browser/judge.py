"""What is asserted of any page: accessible, without sideways scrolling, with every text as it was sent."""

from __future__ import annotations

from collections.abc import Iterable

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_AXE = Axe()
_WIDEST = """() => {
    const page = document.documentElement, wide = page.scrollWidth - page.clientWidth
    const outside = [...document.body.querySelectorAll('*')]
        .filter(each => each.getBoundingClientRect().right > page.clientWidth + 1)
        .map(each => each.tagName.toLowerCase() + (each.className ? '.' + each.className : ''))
    return wide > 0 ? `${wide} px: ${outside.slice(0, 8).join(', ')}` : ''
}"""
_TEXTS = """() => [
    document.body.textContent,
    ...[...document.querySelectorAll('input, textarea')].map(each => each.value),
    ...[...document.querySelectorAll('option')].map(each => each.value + ' ' + each.label),
].join('\\n')"""


def violations(page: Page, *rules: str) -> list[str]:
    """Return what axe-core finds on a page, of any impact, with the first element; by these `rules` alone if any."""
    options = {"runOnly": list(rules)} if rules else None
    found = _AXE.run(page, options=options).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {each['nodes'][0]['html'][:200]}" for each in found
    ]


def sideways(page: Page) -> str:
    """Return how much wider the page is than its window and what sticks out, or nothing."""
    return str(page.evaluate(_WIDEST))


def missing_texts(page: Page, texts: Iterable[str]) -> list[str]:
    """Return the texts that the page shows neither as text nor in a field, letter by letter but for white space."""
    shown = _squeeze(page.evaluate(_TEXTS))
    return [text for text in texts if _squeeze(text) not in shown]


def _squeeze(text: str) -> str:
    return " ".join(text.split())
