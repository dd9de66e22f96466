"""Trains for hours in a process of its own, whose memory and open files must not grow.

`make soak` takes 2 hours; `python tests/soak.py HOURS FOLDER ENV OPTIONS...` as long as you say, on
what you say. FOLDER gets samples.csv, summary.json and provenance.json. The first tenth is warm-up.
After it, by a line of least squares, resident memory may grow by less than 2 % of its mean and open
files by less than half a file; else the exit code is 1.
"""

import csv
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trpo.scripts.cli.options_record import write_options
from trpo.scripts.cli.tables import write_provenance

HOME = Path(__file__).resolve().parent.parent
WARM_UP = 0.1  # of the samples
LARGEST_GROWTH = 0.02  # of resident memory, over the rest
TRAIN = ("HalfCheetah-v5", "--threads", "1")

Sample = dict[str, float]


def sample(pid: int, table: Path) -> Sample:
    """What a process holds now: memory, threads, open files; and the size of its metrics.csv."""
    proc = Path("/proc") / str(pid)
    status = dict(
        line.split(":", 1) for line in (proc / "status").read_text(encoding="utf-8").splitlines()
    )
    return {
        "rss_kib": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "files": len(list((proc / "fd").iterdir())),
        "table_kib": table.stat().st_size // 1024,
    }


def watch(process: subprocess.Popen, table: Path, seconds: float) -> Iterator[Sample]:
    """Yield samples from metrics.csv's first row on, every 5 s, or a hundredth of the time."""
    while process.poll() is None and not (table.exists() and table.read_bytes().count(b"\n") > 1):
        time.sleep(0.01)
    start = time.monotonic()
    while process.poll() is None and (now := time.monotonic() - start) < seconds:
        yield {"hours": round(now / 3600, 6), **sample(process.pid, table)}
        time.sleep(min(5, seconds / 100))


def soak(seconds: float, folder: Path, train: Sequence[str]) -> tuple[list[Sample], int]:
    """Train for a time, end it by SIGTERM; return the samples (as in samples.csv) and the code."""
    with (
        tempfile.TemporaryDirectory() as runs,
        (folder / "samples.csv").open("w", newline="", encoding="utf-8") as file,
    ):
        words = [*train, "--total-steps", str(10**12), "--runs", runs, "--name", "soak"]
        command = [sys.executable, "-m", "trpo.scripts", "train", *words]
        process = subprocess.Popen(command, cwd=HOME, stdout=subprocess.DEVNULL)
        samples: list[Sample] = []
        try:
            for row in watch(process, Path(runs) / train[0] / "soak" / "metrics.csv", seconds):
                samples.append(row)
                if len(samples) == 1:
                    csv.writer(file).writerow(row)
                csv.writer(file).writerow(row.values())
                file.flush()
        finally:
            process.send_signal(signal.SIGTERM)
            exit_code = process.wait()
        return samples, exit_code


def summarize(samples: Sequence[Sample], exit_code: int) -> dict[str, float | str]:
    """What the samples after the warm-up say, and the verdict on them."""
    after = samples[int(WARM_UP * len(samples)) :]
    hours = np.array([row["hours"] for row in after])
    slope = {
        name: np.polyfit(hours, [row[name] for row in after], 1)[0]
        for name in ("rss_kib", "threads", "files")
    }
    span = hours[-1] - hours[0]
    growth = slope["rss_kib"] * span / np.mean([row["rss_kib"] for row in after])
    steady = (
        growth < LARGEST_GROWTH and slope["files"] * span < 0.5 and slope["threads"] * span < 0.5
    )
    return {
        "hours": round(float(hours[-1]), 4),
        "warm_up_hours": round(float(hours[0]), 4),
        "samples": len(after),
        "rss_kib_first": after[0]["rss_kib"],
        "rss_kib_last": after[-1]["rss_kib"],
        "rss_kib_per_hour": round(float(slope["rss_kib"]), 1),
        "rss_growth": f"{growth:.3%}",
        "threads_per_hour": round(float(slope["threads"]), 4),
        "files_per_hour": round(float(slope["files"]), 4),
        "table_kib": after[-1]["table_kib"],
        "exit_code": exit_code,
        "verdict": "steady" if steady and exit_code == 128 + signal.SIGTERM else "NOT STEADY",
    }


def main(words: Sequence[str]) -> int:
    """Soak for HOURS (2) into FOLDER (runs/soak), training on the other words."""
    hours, folder = [*words[:2], *("2", "runs/soak")[len(words[:2]) :]]
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    (path / "provenance.json").unlink(missing_ok=True)
    train = words[2:] or TRAIN
    write_options(path, {train[0]: train})
    write_provenance(path / "provenance.json", program="python tests/soak.py")
    summary = summarize(*soak(float(hours) * 3600, path, train))
    (path / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    for name, value in summary.items():
        print(f"{name:<18}{value}")
    return 0 if summary["verdict"] == "steady" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
