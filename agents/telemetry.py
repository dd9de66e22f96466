"""What a run writes down while it trains: one row an update in metrics.csv, the same numbers in TensorBoard."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from torch.utils.tensorboard.summary import custom_scalars, hparams, text

from trpo.agents.event_file import EventFile
from trpo.agents.files import AppendedFile, replace_file
from trpo.agents.metrics import METRICS
from trpo.agents.trainer import UpdateRecord
from trpo.report import Status

CHARTS = {
    "Trust region": {
        "KL(old ‖ new), mean over states, against its limit δ": [
            "Multiline",
            ["trust_region/mean_kl", "trust_region/max_kl"],
        ],
        "KL(old ‖ new), largest over states": [
            "Multiline",
            ["trust_region/max_state_kl", "trust_region/max_kl"],
        ],
    },
    "Learning": {"Return, raw rewards": ["Multiline", ["episode/return", "episode/return_100"]]},
}
TABLE = "metrics.csv"


class Telemetry:
    """Writes a run's metrics into its folder.

    Args:
        folder: the run's, existing.
        config: the run's configuration, as JSON can hold it.
        records: of the updates whose rows the table has; TensorBoard's file is written anew from
            them, with no gap and no point twice.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], records: Sequence[UpdateRecord] = ()
    ) -> None:
        self._config = config
        self._table = AppendedFile(folder / TABLE)
        if not records:
            self._table.write(_row(["update", "steps", "status", *METRICS]))
        for stale in folder.glob("events.out.tfevents.*"):
            stale.unlink()
        self._events = EventFile(folder)
        self._events.add(custom_scalars(CHARTS))
        self._events.add(text("config", f"```json\n{json.dumps(config, indent=2)}\n```"))
        self._described: set[str] = set()
        for record in records:
            self._add_scalars(record)

    def write(self, record: UpdateRecord) -> None:
        """Write one update; metrics without a value are left empty in the table and out of TensorBoard.

        Args:
            record: the update.
        """
        values = [record.metrics.get(name, "") for name in METRICS]
        self._table.write(_row([record.update, record.steps, record.status.name, *values]))
        self._add_scalars(record)

    def sync(self) -> None:
        """Wait until every row is on disk."""
        self._table.sync()

    def _add_scalars(self, record: UpdateRecord) -> None:
        values = [self._scalar(name, value) for name, value in record.metrics.items()]
        self._events.add(Summary(value=values), record.steps)

    def _scalar(self, name: str, value: float) -> Summary.Value:
        if name in self._described:
            return Summary.Value(tag=name, simple_value=value)
        self._described.add(name)
        plugin = SummaryMetadata.PluginData(plugin_name="scalars")
        metadata = SummaryMetadata(plugin_data=plugin, summary_description=METRICS[name])
        return Summary.Value(tag=name, simple_value=value, metadata=metadata)

    def write_results(self, results: dict[str, float]) -> None:
        """Write the run's results as TensorBoard's hyperparameters page has them.

        Args:
            results: names to final values.
        """
        learner = self._config["learner"]
        flat = {
            name: _plain(value) for name, value in learner.items() if not isinstance(value, dict)
        }
        for group, part in learner.items():
            if isinstance(part, dict):
                flat |= {f"{group}.{name}": _plain(value) for name, value in part.items()}
        tags = {f"result/{name}": value for name, value in results.items()}
        for summary in hparams(flat, tags):
            self._events.add(summary)
        self._events.add(
            Summary(
                value=[Summary.Value(tag=tag, simple_value=value) for tag, value in tags.items()]
            )
        )

    def close(self) -> None:
        """Close the files."""
        self._events.close()
        self._table.close()


def cut_table(folder: Path, update: int) -> list[UpdateRecord]:
    """Cut a run's table off after an update: the later rows are about to be made again.

    Args:
        folder: the run's.
        update: the last to keep.

    Returns:
        The updates that the table now has.

    Raises:
        ValueError: if the table lacks one of them.
    """
    path = folder / TABLE
    lines = path.read_bytes().splitlines(keepends=True)[: update + 1] if path.exists() else []
    records = [_record(row) for row in csv.DictReader(io.StringIO(b"".join(lines).decode("utf-8")))]
    if [record.update for record in records] != list(range(1, update + 1)):
        raise ValueError(f"{path} lacks some of the first {update} updates")
    replace_file(path, b"".join(lines) if records else b"")
    return records


def _record(row: dict[str, str]) -> UpdateRecord:
    metrics = {name: float(row[name]) for name in METRICS if row[name]}
    return UpdateRecord(int(row["update"]), int(row["steps"]), Status[row["status"]], metrics)


def _row(values: Sequence[Any]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(values)
    return line.getvalue().encode("utf-8")


def _plain(value: Any) -> str | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)
