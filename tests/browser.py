"""Pages in a real browser: headless Chromium, by Playwright.

    python tests/browser.py RUN tensorboard.png

makes the documentation's image of TensorBoard.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WAIT = 90_000  # milliseconds, on a busy machine


@contextmanager
def page(errors: list[str]):
    """An empty page, whose console's errors and failed requests are collected."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # no sandbox: as root, in a container
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.set_default_timeout(WAIT)
        opened.on("console", lambda said: said.type == "error" and errors.append(said.text))
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("requestfailed", lambda request: errors.append(request.url))
        try:
            yield opened
        finally:
            browser.close()


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """TensorBoard's address, on a free port, with the loader that it has by default."""
    words = ["--logdir", str(folder), "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *words], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    try:
        yield next(
            found[1] for line in process.stderr if (found := re.search(r"at (http://\S+)", line))
        )
    finally:
        process.terminate()
        process.communicate()


def show_time_series(opened, address: str) -> list[str]:
    """Open the first page that TensorBoard shows, and return its cards' tags, in order."""
    opened.goto(address)
    opened.wait_for_selector("line-chart canvas, line-chart svg")
    opened.get_by_label("Toggle settings side pane").click()
    cards = opened.locator("card-view .tag")
    return [card.get_attribute("title") for card in cards.all()]


if __name__ == "__main__":
    with tensorboard(Path(sys.argv[1])) as address, page([]) as opened:
        show_time_series(opened, address)
        opened.wait_for_timeout(3000)  # until lines are drawn
        opened.screenshot(path=sys.argv[2])
