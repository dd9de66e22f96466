"""What a run writes down while it trains: one row an update in metrics.csv, the same numbers in TensorBoard."""

import csv
import json
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from agents.metrics import METRICS
from agents.trainer import UpdateRecord

CHARTS = {
    "Trust region": {
        "KL(old ‖ new), mean over states, against its limit δ": [
            "Multiline",
            ["trust_region/mean_kl", "trust_region/max_kl"],
        ],
        "KL(old ‖ new), largest over states": ["Multiline", ["trust_region/max_state_kl", "trust_region/max_kl"]],
    },
    "Learning": {"Return, raw rewards": ["Multiline", ["episode/return", "episode/return_100"]]},
}


class Telemetry:
    """Writes a run's metrics into its folder.

    Args:
        folder: the run's, existing.
        config: the run's configuration, as JSON can hold it.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._config = config
        self._file = (folder / "metrics.csv").open("w", newline="", encoding="utf-8")
        self._csv = csv.DictWriter(self._file, ["update", "steps", "status", *METRICS])
        self._csv.writeheader()
        self._board = SummaryWriter(folder)
        self._board.add_custom_scalars(CHARTS)
        self._events = self._board._get_file_writer()
        self._board.add_text("config", f"```json\n{json.dumps(config, indent=2)}\n```")
        self._described: set[str] = set()

    def write(self, record: UpdateRecord) -> None:
        """Write one update; metrics without a value are left empty in the table and out of TensorBoard.

        Args:
            record: the update.
        """
        self._csv.writerow({"update": record.update, "steps": record.steps, "status": record.status.name} | record.metrics)
        self._file.flush()
        values = [self._scalar(name, value) for name, value in record.metrics.items()]
        self._events.add_summary(Summary(value=values), record.steps)

    def _scalar(self, name: str, value: float) -> Summary.Value:
        if name in self._described:
            return Summary.Value(tag=name, simple_value=value)
        self._described.add(name)
        plugin = SummaryMetadata.PluginData(plugin_name="scalars")
        metadata = SummaryMetadata(plugin_data=plugin, summary_description=METRICS[name])
        return Summary.Value(tag=name, simple_value=value, metadata=metadata)

    def close(self, results: dict[str, float]) -> None:
        """Write the run's results as TensorBoard's hyperparameters page has them, and close.

        Args:
            results: names to final values.
        """
        flat = {
            f"{group}.{name}": _plain(value) for group, part in self._config["learner"].items() for name, value in part.items()
        }
        tags = {f"result/{name}": value for name, value in results.items()}
        for summary in hparams(flat, tags):
            self._events.add_summary(summary)
        self._events.add_summary(Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in tags.items()]))
        self._board.close()
        self._file.close()


def _plain(value: Any) -> str | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)
