"""Two ways to use a page: with the mouse, and with the keyboard alone. Both find things by their accessible names."""

from __future__ import annotations

from typing import Protocol

from playwright.sync_api import Locator, Page

_HAS_FOCUS = "element => element === document.activeElement"


class Hands(Protocol):
    """What a person does with the elements of a page."""

    page: Page

    def press(self, target: Locator) -> None:
        """Press a button or follow a link."""

    def toggle(self, target: Locator) -> None:
        """Change a switch, a checkbox or a radio button."""

    def write(self, target: Locator, text: str) -> None:
        """Put a text in place of a field's."""

    def choose(self, target: Locator, option: str) -> None:
        """Choose an option of a list by its words."""

    def pick(self, option: Locator) -> None:
        """Pick an option that a field offers while one writes into it."""


class Mouse:
    """A person with a mouse."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, target: Locator) -> None:
        target.click()

    def toggle(self, target: Locator) -> None:
        target.click()

    def write(self, target: Locator, text: str) -> None:
        target.fill(text)

    def choose(self, target: Locator, option: str) -> None:
        target.select_option(label=option)

    def pick(self, option: Locator) -> None:
        option.click()


class Keyboard:
    """A person without a mouse: Tab leads to everything, and focus is visible wherever it stops."""

    #: Stops between two elements that are used one after the other.
    MOST_STOPS = 80

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, target: Locator) -> None:
        self._reach(target)
        self.page.keyboard.press("Enter")

    def toggle(self, target: Locator) -> None:
        self._reach(target)
        self.page.keyboard.press("Space")

    def write(self, target: Locator, text: str) -> None:
        self._reach(target)
        self.page.keyboard.press("Control+A")
        # As from the clipboard.
        self.page.keyboard.insert_text(text)

    def choose(self, target: Locator, option: str) -> None:
        self._reach(target)
        self.page.keyboard.type(option)

    def pick(self, option: Locator) -> None:
        option.wait_for()
        while option.get_attribute("aria-selected") != "true":
            self.page.keyboard.press("ArrowDown")
        self.page.keyboard.press("Enter")

    def _reach(self, target: Locator) -> None:
        target.wait_for()
        for _ in range(self.MOST_STOPS):
            if target.evaluate(_HAS_FOCUS):
                assert target.evaluate("element => element.matches(':focus-visible')")
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {target}")
