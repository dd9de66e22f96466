"""Bad input of every kind: each is told in one line, with code 2, and leaves nothing behind."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from trpo.scripts import __main__

NUMBERS = {  # options, and numbers that they do not take
    "--total-steps": ("0", "-1"),
    "--batch-size": ("0", "1", "-2048", "2047"),
    "--num-envs": ("0", "-1", "7"),
    "--gamma": ("-0.1", "1.1"),
    "--gae-lambda": ("-0.1", "1.1"),
    "--seed": ("-1",),
    "--checkpoint-interval": ("0", "-5"),
    "--keep-checkpoints": ("0", "-1"),
    "--max-non-finite": ("0",),
    "--max-restarts": ("-1",),
    "--step-timeout": ("-1", "inf", "nan"),
    "--microbatch-size": ("0",),
    "--max-kl": ("0", "-1"),
    "--damping": ("-1", "inf"),
    "--cg-iterations": ("0",),
    "--cg-tolerance": ("1", "-1"),
    "--backtrack-ratio": ("0", "1", "2"),
    "--max-backtracks": ("-1",),
    "--fisher-stride": ("0",),
    "--hidden": ("0", "-8"),
    "--initial-log-std": ("-21", "6"),
    "--value.hidden": ("0",),
    "--value.newton-steps": ("0",),
    "--value.damping": ("-1",),
    "--value.learning-rate": ("0", "-1"),
    "--value.minibatch-size": ("0",),
    "--normalize.observation-clip": ("0", "-1"),
    "--threads": ("-1",),
}
WORDS = (
    "",
    " ",
    "nan",
    "much",
    "1e",
    "0x10",
    "1,5",
    "--",
    "None",
    "True",
    "π",
    "1 2",
    "\t",
    "a\nb",
    "[1]",
    "1e400",
    "½",
)
CHOICES = ("--engine", "--activation", "--value.activation", "--value.fit")
ENVS = (
    "",
    " ",
    "CartPole",
    "CartPole-v99",
    "no_such_module:Env-v0",
    ":",
    "a:b:c",
    "..",
    "Cart\nPole-v1",
    "v1",
    "/",
    "π-v0",
    "a/b/c",
)
PATHS = ("", "/nowhere", "/dev/null", "\0", "a" * 300, "README.md", "π")


def bad_commands(random: Random, run: Path) -> Iterator[list[str]]:
    """Commands that no one can obey, without end."""
    train = ["train", "CartPole-v1"]
    while True:
        option = random.choice(list(NUMBERS))
        word = random.choice(WORDS)
        yield [*train, option, random.choice(NUMBERS[option])]
        yield [*train, option, word if word != "0x10" else "ten"]
        yield [*train, random.choice(CHOICES), word]
        yield [
            *train,
            option if "hidden" not in option else "--seed",
        ]  # without its value; hidden layers may be none
        yield [*train, f"--{random.choice(WORDS).strip()}{random.randrange(999)}", "1"]
        yield [*train, random.choice(WORDS) or "x", random.choice(WORDS) or "y"]
        yield ["train", random.choice(ENVS), *random.sample([option, "1"], 2)]
        yield [
            *train,
            "--name",
            random.choice(("a/b", ".", "..", "../x", ".hidden", "\0", "x" * 300)),
        ]
        yield [random.choice(("evaluate", "resume", "plot")), random.choice(PATHS)]
        yield ["evaluate", str(run), "--episodes", random.choice(("0", "-1", "x", "", "1.5"))]
        yield ["resume", str(run), "--total-steps", random.choice(("0", "-1", "x", "", "1", "inf"))]
        yield [random.choice((*WORDS, "trian", "resumes", "-x")), "CartPole-v1"]
        yield ["benchmark", random.choice(WORDS)]


def bad_configs(random: Random, config: dict) -> Iterator[str]:
    """Texts that are not what config.json holds, without end."""
    text = json.dumps(config)
    while True:
        start = random.randrange(text.index('"versions"'))  # whose values are free
        yield text[:start]
        yield (
            text[:start]
            + random.choice("{}[]")
            + text[start:].replace('"', random.choice(("", "'")), 1)
        )
        damaged = json.loads(text)
        learner = damaged["learner"]
        parts = [part for part in learner.values() if isinstance(part, dict)]
        part = random.choice([damaged, learner, *parts, damaged["environment"]])
        key = random.choice([key for key in part if key not in {"git_commit", "versions"}])
        part[key] = random.choice([None, {}, [[]], {"a": 1}, ["x"]])
        yield json.dumps(damaged)
        del part[key]
        yield json.dumps(damaged)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    small = "--total-steps 200 --batch-size 64 --num-envs 8 --hidden 8 --threads 1"
    words = f"train CartPole-v1 {small} --name x --runs"
    assert __main__.main([*words.split(), str(runs)]) == 0
    return runs / "CartPole-v1" / "x"


def complaint(words: list[str], capsys: pytest.CaptureFixture) -> str:
    """Return what is wrong with the answer to bad input, or nothing."""
    try:
        code = __main__.main(words)
    except BaseException as error:
        return f"{words}: raised {error!r}"
    err = capsys.readouterr().err
    return (
        ""
        if code == 2 and len(err.splitlines()) == 1 and err.startswith("trpo: ")
        else f"{words}: {code}, {err!r}"
    )


def test_bad_commands(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = bad_commands(Random(0), run)
    complaints = [complaint(next(commands), capsys) for _ in range(500)]
    assert not (found := list(filter(None, complaints))), "\n".join(found)
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_bad_configs(run, tmp_path, capsys):
    folder = Path(shutil.copytree(run, tmp_path / "copy"))
    config = json.loads((run / "config.json").read_text())
    texts = bad_configs(Random(0), config)
    complaints = []
    for number in range(100):
        text = next(texts)
        (folder / "config.json").write_text(text)
        complaints.append(
            complaint([("evaluate", "resume", "plot")[number % 3], str(folder)], capsys) and text
        )
    assert not (found := list(filter(None, complaints))), "\n".join(found)
