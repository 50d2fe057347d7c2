"""`make pages`: every page of the standing morning in headless Chromium, wide and narrow, light and dark.

Run `make demo` before. Prints reached beside target for each page; 1 if a target is missed.
"""

import argparse
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from pipeline.reports.pages.site import STYLE
from pipeline.settings import Settings

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
MOST_SECONDS, MOST_BYTES, LEAST_CONTRAST = 3.0, 1_200_000, 4.5
IN_PAGE = (Path(__file__).parent / "in_page.js").read_text(encoding="utf-8")
SPARE_TABS = 5


@dataclass(frozen=True)
class Seen:
    """What a page did in one window.

    Attributes:
        errors: what the console complained of.
        outside: requests that left for another host.
        seconds: until everything was loaded.
        size: bytes of everything but the shared style.
        overflow: pixels by which the page is wider than its window.
        contrast: of the faintest text.
        faintest: that text.
        unreached: links, summaries and scrolled regions that the Tab key does not reach.
    """

    page: str
    width: int
    scheme: str
    errors: list[str]
    outside: list[str]
    seconds: float
    size: int
    overflow: int
    contrast: float
    faintest: str
    unreached: int

    @property
    def misses(self) -> list[str]:
        """Targets that are missed, in words."""
        found = {
            f"console: {self.errors}": bool(self.errors),
            f"requests: {self.outside}": bool(self.outside),
            f"{self.seconds:.1f} s": self.seconds > MOST_SECONDS,
            f"{self.size:,} bytes": self.size > MOST_BYTES,
            f"{self.overflow} px too wide": self.overflow > 0,
            f"contrast {self.contrast:.2f} of '{self.faintest}'": self.contrast < LEAST_CONTRAST,
            f"{self.unreached} not reached by keyboard": self.unreached > 0,
        }
        return [words for words, is_missed in found.items() if is_missed]


def look(folder: Path, screenshots: Path | None) -> Iterator[Seen]:
    """Open every page of the folder in every window; keep pictures where asked to."""
    with _served(folder) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for path in sorted(folder.glob("*.html")):
            for width in WIDTHS:
                for scheme in SCHEMES:
                    yield _open(browser, address, path.name, width, scheme, screenshots)
        browser.close()


def _open(browser: Browser, address: str, name: str, width: int, scheme: str, screenshots: Path | None) -> Seen:
    window = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = window.new_page()
    errors: list[str] = []
    requested: list[str] = []
    sizes: list[int] = []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.on(
        "response",
        lambda found: None if found.url.endswith(STYLE) else sizes.append(int(found.headers["content-length"])),
    )
    started = time.perf_counter()
    page.goto(f"{address}/{name}", wait_until="load")
    seconds = time.perf_counter() - started
    told = page.evaluate(IN_PAGE)
    if screenshots is not None:
        page.screenshot(path=screenshots / f"{Path(name).stem}-{width}-{scheme}.png", full_page=True)
    # The skip link is off the page until it is reached, and so is counted with the visible ones.
    reached = _reached(page, told["targets"]) if scheme == SCHEMES[0] else told["targets"]
    window.close()
    return Seen(
        page=name,
        width=width,
        scheme=scheme,
        errors=errors,
        outside=[url for url in requested if not url.startswith((address, "data:"))],
        seconds=seconds,
        size=sum(sizes),
        overflow=told["width"] - width,
        contrast=told["faintest"]["contrast"],
        faintest=told["faintest"]["text"],
        unreached=told["targets"] - reached,
    )


def _reached(page, targets: int) -> int:
    """How many different elements the Tab key comes to."""
    for _ in range(targets + SPARE_TABS):
        page.keyboard.press("Tab")
        page.evaluate("document.activeElement !== document.body && (document.activeElement.wasReached = true)")
    count = "[...document.querySelectorAll('a[href], summary, [tabindex]')].filter((one) => one.wasReached).length"
    return int(page.evaluate(count))


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def main() -> int:
    """Command line; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.pages", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Settings().reports_dir, help="where the pages stand")
    parser.add_argument("--screenshots", type=Path, help="folder for a picture of every page and window")
    arguments = parser.parse_args()
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    seen = list(look(arguments.folder, arguments.screenshots))
    if not seen:
        print(f"No pages in {arguments.folder}: run make demo first.")
        return 1
    print(f"{len({one.page for one in seen})} pages in {len(seen)} windows ({WIDTHS} px, {SCHEMES})")
    worst = [
        ("console errors and warnings", sum(len(one.errors) for one in seen), "0"),
        ("requests to elsewhere", sum(len(one.outside) for one in seen), "0"),
        ("slowest page", f"{max(one.seconds for one in seen):.2f} s", f"<= {MOST_SECONDS:g} s"),
        (
            "largest page beyond the style",
            f"{max(one.size for one in seen) / 1e6:.2f} MB",
            f"<= {MOST_BYTES / 1e6:g} MB",
        ),
        ("widest page beyond its window", f"{max(one.overflow for one in seen)} px", "0 px"),
        ("faintest text", f"{min(one.contrast for one in seen):.2f}", f">= {LEAST_CONTRAST}"),
        ("links and regions that Tab does not reach", sum(one.unreached for one in seen), "0"),
    ]
    for measure, reached, target in worst:
        print(f"  {measure:<45} {reached!s:>8}   {target}")
    missed = [(one, words) for one in seen for words in one.misses]
    for one, words in missed:
        print(f"  MISS {one.page}, {one.width} px, {one.scheme}: {words}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
