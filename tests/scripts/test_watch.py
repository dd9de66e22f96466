"""`trpo watch`: on a screen, real or SDL's dummy; without one it says so."""

import pygame
import pytest

from trpo.scripts import __main__


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    words = ["--total-steps=500", "--batch-size=256", "--num-envs=8", "--hidden=8", "--threads=1"]
    words += ["--runs", str(runs), "--name", "x"]
    assert __main__.main(["train", "CartPole-v1", *words]) == 0
    return runs / "CartPole-v1" / "x"


def test_a_policy_is_played_on_screen(run, monkeypatch, capsys):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    sizes, flip = [], pygame.display.flip

    def flip_and_look():
        flip()
        sizes.append(pygame.display.get_surface().get_size())

    monkeypatch.setattr(pygame.display, "flip", flip_and_look)
    assert __main__.main(["watch", str(run), "--episodes", "2"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [line[:3] for line in lines] == [["episode", f"{n}:", "return"] for n in (1, 2)]
    assert len(sizes) >= sum(int(line[4]) for line in lines)  # an image a step, at least
    assert set(sizes) == {(600, 400)}


def test_without_a_display_it_says_so(run, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    assert __main__.main(["watch", str(run)]) == 2
    film = "film it: trpo evaluate RUN --video DIR"
    said = f"CartPole-v1 cannot be watched: this machine has no display; {film}"
    assert capsys.readouterr().err == f"trpo: {said}\n"
