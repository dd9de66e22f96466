"""Bad input of every kind: each is told in one line, with a documented exit code, and no traceback.

`make fuzz` tries 2,000 cases; `python tests/fuzz.py 500 7` tries 500, of seed 7. Command lines,
config.json, metrics.csv, and checkpoints whose checksum is valid and whose content is not.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trpo.agents.storage.checkpoint import load_checkpoint, save_checkpoint
from trpo.scripts import __main__

SMALL = "--total-steps 200 --batch-size 64 --num-envs 8 --hidden 8 --threads 1"
CODES = {0, 1, 2, 130, 143}

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
    "--initial-concentration": ("1", "1e5"),
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
        others = [None, {}, [[]], {"a": 1}, ["x"]]
        part[key] = random.choice([other for other in others if other != part[key]])
        yield json.dumps(damaged)
        if key != "format":  # a file without one is of the first, which may lack what came later
            del part[key]
            yield json.dumps(damaged)


def bad_tables(random: Random, table: bytes) -> Iterator[bytes]:
    """Tables with bytes changed, cut off, added or repeated, without end."""
    while True:
        start, end = sorted(random.randrange(len(table)) for _ in range(2))
        end = min(end, start + random.choice((1, 1, 5, 100)))
        junk = random.choice((b"", b"\0", b"\xff", b"\n", b",", b'"', b"nan", b"-1", b"x" * 10))
        yield table[:start] + junk + table[end:]
        yield table[:start] + junk * random.choice((1, 20_000))


HOSTILE_VALUES = (None, -1, 0, 10**30, 1e308, "", "x", [], [[]], {}, True, [[1]], [["a", "b"]])


def bad_states(random: Random, state: dict) -> Iterator[dict]:
    """States of a checkpoint with a value, somewhere within, of another kind, without end."""
    while True:
        damaged = json.loads(json.dumps(state))
        part, key = damaged, random.choice(list(damaged))
        while isinstance(part[key], dict) and part[key] and random.random() < 0.9:
            part = part[key]
            key = random.choice(list(part))
        if random.random() < 0.3:
            del part[key]
        else:
            part[key] = random.choice(HOSTILE_VALUES)
        yield damaged


def bad_tensors(random: Random, tensors: dict) -> Iterator[dict]:
    """Tensors of another shape, type or name, too many or too few, without end."""
    while True:
        name = random.choice(list(tensors))
        tensor = tensors[name]
        yield {key: value for key, value in tensors.items() if key != name}
        yield tensors | {name: random.choice((tensor.half(), tensor.long(), tensor.bool()))}
        yield tensors | {name: random.choice((tensor[None], torch.zeros(3), torch.zeros(0)))}
        kind = random.choice(("agent.", "update_rule.", "value_fit.", ""))
        yield tensors | {
            kind + random.choice(("x", "0.x", "9.step", "π", "a.b.c", "")): tensor.clone()
        }


class Fuzzer:
    """Tries cases on a run of its own.

    Args:
        folder: an empty one.
        seed: of the cases.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random = Random(seed)
        words = f"train CartPole-v1 {SMALL} --name x --runs {folder}"
        code, _ = answer(words.split())
        assert code == 0
        self.run = folder / "CartPole-v1" / "x"
        self.good = Path(shutil.copytree(self.run, folder / "good"))
        self.checkpoint = sorted((self.good / "checkpoints").glob("update-*"))[-1]
        checkpoint = load_checkpoint(self.checkpoint)
        self.commands = bad_commands(random, self.run)
        self.configs = bad_configs(
            random, json.loads((self.good / "config.json").read_text(encoding="utf-8"))
        )
        self.tables = bad_tables(random, (self.good / "metrics.csv").read_bytes())
        self.states = bad_states(random, checkpoint.state)
        self.tensors = bad_tensors(random, checkpoint.tensors)
        self.content = checkpoint

    def command(self) -> str:
        """Try a command line that no one can obey; return what is wrong with the answer."""
        return complaint(next(self.commands), {2})

    def config(self) -> str:
        """Try a config.json that does not fit."""
        self._restore()
        (self.run / "config.json").write_text(next(self.configs), encoding="utf-8")
        command = self.random.choice((
            "evaluate {} --episodes 1",
            "resume {}",
            "plot {}",
            "audit {}",
        ))
        makes_environments = command.split()[0] in {"evaluate", "resume"}  # by their settings
        codes = {2} if makes_environments else {0, 1, 2}
        return complaint(command.format(self.run).split(), codes)

    def table(self) -> str:
        """Try a metrics.csv that was changed; it may still be one."""
        self._restore()
        (self.run / "metrics.csv").write_bytes(next(self.tables))
        commands = ("resume {} --total-steps 300", "plot {}", "audit {}")
        return complaint(self.random.choice(commands).format(self.run).split(), {0, 1, 2})

    def state(self) -> str:
        """Try a checkpoint with a valid checksum and a state that was changed."""
        return self._checkpoint(self.content.tensors, next(self.states))

    def tensor(self) -> str:
        """Try a checkpoint with a valid checksum and other tensors."""
        return self._checkpoint(next(self.tensors), self.content.state)

    def _checkpoint(self, tensors: dict, state: dict) -> str:
        self._restore()
        for path in (self.run / "checkpoints").iterdir():
            save_checkpoint(path, tensors, state)
        commands = ("resume {} --total-steps 300", "evaluate {} --episodes 1")
        return complaint(self.random.choice(commands).format(self.run).split(), {0, 1, 2})

    def _restore(self) -> None:
        shutil.rmtree(self.run)
        shutil.copytree(self.good, self.run)


def answer(words: Sequence[str]) -> tuple[int, str]:
    """Return a command's exit code and what it said on standard error, warnings aside."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = __main__.main(words)
    lines = err.getvalue().splitlines(keepends=True)
    return code, "".join(line for line in lines if not line.startswith("trpo: warning: "))


def complaint(words: Sequence[str], codes: set[int]) -> str:
    """Return what is wrong with the answer to bad input, or nothing."""
    try:
        code, err = answer(words)
    except BaseException:
        return f"{words}: {traceback.format_exc()}"
    one_line = len(err.splitlines()) == (code in {1, 2})
    fine = code in codes and (one_line or not err) and (not err or err.startswith("trpo: "))
    return "" if fine else f"{words}: {code}, {err!r}"


def main(words: Sequence[str]) -> int:
    """Try COUNT cases (2000) from seed SEED (0) on, a fifth of each kind."""
    count, seed = [*map(int, words), *(2000, 0)[len(words) :]]
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        fuzzer = Fuzzer(Path(folder) / "runs", seed)
        kinds = fuzzer.command, fuzzer.config, fuzzer.table, fuzzer.state, fuzzer.tensor
        for number in range(count):
            if said := kinds[number % len(kinds)]():
                complaints.append(said)
                print(said)
    print(f"{count} cases, {len(complaints)} of them not told as they should be")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
