"""`make pictures`: the pictures of the README, taken in Chromium from the standing demo (run `make demo` before)."""

import os
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.checkout import PROJECT_ROOT
from tests.serving.started import driptune_up

PICTURES = PROJECT_ROOT / "docs" / "pictures"
SIZE = {"width": 1280, "height": 860}
#: Small enough for a README, and text is still sharp.
QUALITY = 62
SETTLE_MILLISECONDS = 6_000


def take(page: Page, name: str) -> None:
    """Keep what the window shows."""
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.jpg", type="jpeg", quality=QUALITY)


def main() -> None:
    """Take every picture."""
    with driptune_up(os.environ, Path.cwd()) as serving, sync_playwright() as playwright:
        base, link = serving.address, next(iter(serving.links.values()))
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(f"{base}/reports/index.html")
        take(page, "morning")
        page.goto(link)
        page.get_by_role("button").first.click()
        page.wait_for_url("**/inbox/")
        page.locator("main a").first.click()
        page.wait_for_load_state()
        take(page, "inbox")
        page.goto(f"{base}/asset-groups")
        page.wait_for_timeout(SETTLE_MILLISECONDS)
        take(page, "graph")
        browser.close()


if __name__ == "__main__":
    main()
