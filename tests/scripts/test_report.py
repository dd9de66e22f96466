"""A run's page holds all that it shows, asks for nothing else, and looks right in a browser."""

import re
import shutil
import subprocess

import pytest

from trpo.agents.runs import Run
from trpo.scripts import __main__

SMALL = ["--total-steps=600", "--batch-size=256", "--num-envs=8", "--hidden=8", "--threads=1"]


def test_a_page_shows_the_run_and_needs_nothing_else(tmp_path):
    place = ["--runs", str(tmp_path), "--name", "<b>x", "--quiet"]
    assert __main__.main(["train", "CartPole-v1", *SMALL, *place]) == 0
    run = Run.open(tmp_path / "CartPole-v1" / "<b>x")
    (run.folder / "film.mp4").write_bytes(b"film")
    run.write_evaluation({"mean_return": 12.5, "returns": [12.5]})
    out = tmp_path / "page.html"
    assert __main__.main(["report", str(run.folder), "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    assert "<b>x" not in page  # whatever a run is called
    assert "&lt;b&gt;x" in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert [source.partition(",")[0] for source in sources] == [
        "data:image/png;base64",
        "data:video/mp4;base64",
    ]
    assert f"{run.records()[-1].steps:,} of 600" in page
    assert "mean return</td><td>12.50" in page
    assert "max_kl</td><td>0.02" in page
    assert "ppo." not in page
    if not (chromium := shutil.which("chromium")):
        pytest.skip("there is no Chromium to look at it with")
    words = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=600,900"]
    image = tmp_path / "page.png"
    subprocess.run([*words, f"--screenshot={image}", out.as_uri()], check=True, capture_output=True)
    assert image.stat().st_size > 20_000  # an empty page has 5,000 bytes
