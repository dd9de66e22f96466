"""What a run writes down as it trains: a row an update in metrics.csv, the same in TensorBoard."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from torch.utils.tensorboard.summary import custom_scalars, hparams, text

from trpo.agents.metrics import METRICS, UpdateRecord
from trpo.agents.runs.config import RunConfig
from trpo.agents.runs.event_file import EventFile
from trpo.agents.runs.metrics_table import TABLE, TableWriter
from trpo.agents.runs.typed_json import to_json

CHARTS = {
    "Trust region": {
        "KL(old ‖ new), mean over states, against its limit δ": [
            "Multiline",
            ["update/mean_kl", "trust_region/max_kl"],
        ],
        "KL(old ‖ new), largest over states": [
            "Multiline",
            ["update/max_state_kl", "trust_region/max_kl"],
        ],
    },
    "Learning": {"Return, raw rewards": ["Multiline", ["episode/return", "episode/return_100"]]},
}


class Telemetry:
    """Writes a run's metrics into its folder.

    Args:
        folder: the run's, existing.
        config: the run's configuration.
        earlier: updates that training goes on after: TensorBoard's file is written anew with them,
            with no gap and no point twice.
        later: updates of an earlier process, which are about to be made again.
    """

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        earlier: Sequence[UpdateRecord] = (),
        later: Sequence[UpdateRecord] = (),
    ) -> None:
        self._learner = config.learner
        self._described: set[str] = set()
        stale = list(folder.glob("events.out.tfevents.*"))
        with ExitStack() as opened:
            self._table = opened.enter_context(closing(TableWriter(folder / TABLE, earlier, later)))
            self._events = opened.enter_context(closing(EventFile(folder)))
            self._events.add(custom_scalars(CHARTS))
            configuration = json.dumps(to_json(config), indent=2)
            self._events.add(text("config", f"```json\n{configuration}\n```"))
            for record in earlier:
                self._add_scalars(record)
            self._opened = opened.pop_all()  # what an exception above would have closed
        for path in stale:
            path.unlink()

    def write(self, record: UpdateRecord) -> None:
        """Write one update; metrics without a value are left empty, and out of TensorBoard.

        Args:
            record: the update.
        """
        self._table.write(record)
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

    def write_results(self, results: Mapping[str, float]) -> None:
        """Write the run's results as TensorBoard's hyperparameters page has them.

        Args:
            results: names to final values.
        """
        tags = {f"result/{name}": value for name, value in results.items()}
        for summary in hparams(_flat(to_json(self._learner)), tags):
            self._events.add(summary)
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in tags.items()]
        self._events.add(Summary(value=values))

    def forget_later(self) -> None:
        """Drop the rows that were to be made again and are not: training has ended before them."""
        self._table.forget_later()

    def close(self) -> None:
        """Close the files."""
        self._opened.close()


def _flat(content: Mapping[str, object], prefix: str = "") -> dict[str, str | float | bool]:
    flat: dict[str, str | float | bool] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str | int | float) else str(value)
    return flat
