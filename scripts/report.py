"""`trpo report RUN`: a self-contained HTML report of a run."""

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from trpo.agents.metrics import UpdateRecord
from trpo.agents.runs import Run, board
from trpo.agents.runs.results import Results
from trpo.agents.runs.run import EVALUATION
from trpo.agents.storage.files import read_file, replace_file
from trpo.scripts.cli.command import RunFolder, UsageError, parse
from trpo.scripts.cli.figures import image_of, run_figure
from trpo.scripts.cli.numbers import nats, readable
from trpo.scripts.cli.output import printable

LARGEST_VIDEO = 30 * 2**20  # bytes
# nothing may be fetched and no script run, whatever an untrusted run folder contains
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
img, video { max-width: 100%; height: auto; }
table { border-collapse: collapse; } td { padding: 0.15rem 1.5rem 0.15rem 0; vertical-align: top; }
td:first-child { color: #666; } .columns { columns: 2 24rem; } .columns tr { break-inside: avoid; }
"""


@dataclass(frozen=True)
class ReportOptions:
    """Write a run's curves, KL, evaluation, video, options and versions to one HTML file."""

    run: RunFolder
    """Folder of the run, as trpo train leaves it."""
    out: Path | None = None
    """File to write. Default: RUN/report.html."""


def main(arguments: Sequence[str]) -> int:
    """Write the page.

    Args:
        arguments: the words after `trpo report`.

    Returns:
        0.

    Raises:
        UsageError: if the file cannot be written.
    """
    options = parse(ReportOptions, arguments, "report")
    out = options.out or options.run / "report.html"
    page = render(Run.open(options.run))
    try:
        replace_file(out, page.encode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error
    print(printable(out))
    return 0


def render(run: Run) -> str:
    """Return the page.

    Args:
        run: any with updates.

    Returns:
        HTML.
    """
    shown = {name: _word(value) for name, value in board.options(run.config).items()}
    made_with = run.config.versions | {"commit": run.config.git_commit or ""}
    title = html.escape(f"{run.config.learner.algorithm.upper()} on {run.config.env}")
    figure = _data("image/png", image_of(run_figure(run), "png"))
    sections = [
        f"<h1>{title}</h1>{_table(_summary(run))}",
        f'<h2>What it learned, and how far each update moved it</h2><img alt="" src="{figure}">',
        *_evaluation(run),
        *_video(run),
        f'<h2>Options</h2><div class="columns">{_table(shown)}</div>',
        f"<h2>Made with</h2>{_table(made_with)}",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>"
        + "\n".join(sections)
        + "</body></html>\n"
    )


def _summary(run: Run) -> dict[str, str]:
    records, learner = run.records(), run.config.learner
    results = Results(learner.max_kl)
    last: dict[str, float] = {}
    for record in records:
        results.count(record)
        last |= record.metrics
    within = f"{results.within_limit:,} of {results.updates:,}"
    return {
        "run": str(run.folder),
        "seed": str(learner.trainer.seed),
        "environment steps": f"{records[-1].steps:,} of {learner.trainer.total_steps:,}",
        **_returns(last),
        **({f"updates with {learner.limit}": within} if learner.limit else {}),
        "largest KL": f"{nats(results.largest_kl)} nats",
        "training time": f"{_seconds(records):,.0f} s",
    }


def _returns(last: Mapping[str, float]) -> dict[str, str]:
    names = {
        "return, last evaluation": "evaluation/return",
        "return, last 100 episodes of training": "episode/return_100",
    }
    return {name: readable(last[metric])[0] for name, metric in names.items() if metric in last}


def _seconds(records: Sequence[UpdateRecord]) -> float:
    return sum(record.metrics.get("time/seconds", 0.0) for record in records)


def _evaluation(run: Run) -> Iterator[str]:
    """Yield the section on evaluation.json, if `trpo evaluate` has left one."""
    try:
        result = json.loads(read_file(run.folder / EVALUATION))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(result, dict):
        shown = {k.replace("_", " "): _word(v) for k, v in result.items() if k != "returns"}
        yield f"<h2>Evaluation</h2>{_table(shown)}"


def _video(run: Run) -> Iterator[str]:
    """Yield the section with the run's latest video, if it has one that a page can hold."""
    found = [(path.lstat(), path) for path in run.folder.rglob("*.mp4")]
    videos = sorted((at.st_mtime, at.st_size, path) for at, path in found if S_ISREG(at.st_mode))
    for _, size, path in videos[-1:]:
        if size <= LARGEST_VIDEO:
            video = _data("video/mp4", read_file(path))
            yield f'<h2>{html.escape(path.stem)}</h2><video controls loop src="{video}"></video>'


def _word(value: object) -> str:
    return readable(value)[0] if isinstance(value, float) and abs(value) >= 1 else str(value)


def _table(rows: Mapping[str, str]) -> str:
    cells = (map(html.escape, row) for row in rows.items())
    lines = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in cells)
    return f"<table>{lines}</table>"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
