"""TensorBoard and the report as a newcomer sees them, in headless Chromium."""

import json
import time
import urllib.request

import pytest

from tests.browser import CHROMIUM, page, show_time_series, tensorboard
from trpo.agents.runs.board import TAGS
from trpo.scripts import __main__

pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    words = ["--total-steps=2000", "--batch-size=256", "--num-envs=8", "--hidden=8", "--threads=1"]
    words += ["--video-every=1000", "--runs", str(runs), "--name", "x"]
    assert __main__.main(["train", "CartPole-v1", *words]) == 0
    return runs / "CartPole-v1" / "x"


def test_tensorboard_shows_return_kl_and_value_fit_first(run):
    errors: list[str] = []
    with tensorboard(run) as address, page(errors) as opened:
        assert show_time_series(opened, address)[:4] == [
            "1_overview/1_return_100",
            "1_overview/2_mean_kl",
            "1_overview/3_max_kl",
            "1_overview/4_explained_variance",
        ]
        opened.goto(f"{address}#custom_scalars")
        opened.wait_for_selector("text=Return, last 100 episodes")
        opened.wait_for_selector("text=the band above it reaches up to its limit δ")
        opened.wait_for_selector("text=Explained variance")
        opened.goto(f"{address}#images")
        film = opened.wait_for_selector("text=5_video/episode")
        assert film.is_visible()
    assert not errors


def test_tensorboards_fast_loader_keeps_what_a_chart_means(run):
    tags: dict[str, dict[str, str]] = {}
    with tensorboard(run) as address:
        while TAGS["episode/return_100"] not in tags:  # it may still be loading
            time.sleep(0.1)
            with urllib.request.urlopen(f"{address.rstrip('/')}/data/plugin/scalars/tags") as said:
                tags = json.load(said).get(".", {})
    for name, tag in TAGS.items():
        if tag in tags:
            assert f"<code>{name}</code> in metrics.csv" in tags[tag]["description"]


def test_a_report_shows_its_images_and_film_and_asks_nobody_for_anything(run, tmp_path):
    out = tmp_path / "report.html"
    assert __main__.main(["evaluate", str(run), "--episodes", "3"]) == 0
    assert __main__.main(["report", str(run), "--out", str(out)]) == 0
    errors: list[str] = []
    with page(errors) as opened:
        asked: list[str] = []
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(out.as_uri())
        assert opened.inner_text("h1") == "TRPO on CartPole-v1"
        sizes = opened.evaluate("[...document.images].map(image => image.naturalWidth)")
        assert len(sizes) == 1
        assert min(sizes) > 500
        opened.wait_for_function("document.querySelector('video').readyState >= 2")  # it decodes
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert opened.evaluate("[...document.querySelectorAll('h2')].map(h => h.innerText)")[
            1:3
        ] == [
            "Evaluation",
            opened.inner_text("h2:has(+ video)"),
        ]
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert not errors
