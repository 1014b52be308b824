"""A browser for the tests that want one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from report.browser import Browser, open_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def quiet(browser: Browser) -> Iterator[None]:
    """No test leaves an error in the console, or has asked for anything but files."""
    browser.look()
    yield
    assert browser.console() == []
    asked = [address for address in browser.requests() if not address.startswith(("file:///", "data:", "about:"))]
    assert asked == []
