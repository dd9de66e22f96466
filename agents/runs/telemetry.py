"""What a run writes down as it trains: rows in metrics.csv, and what of them is charted."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from torch.utils.tensorboard.summary import custom_scalars, hparams, text

from trpo.agents.metrics import METRICS, UpdateRecord
from trpo.agents.runs.board import CHARTS, TAGS, hyperparameters, options_table
from trpo.agents.runs.config import RunConfig
from trpo.agents.runs.event_file import EventFile
from trpo.agents.runs.metrics_table import TABLE, TableWriter


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
        self._config = config
        self._described: set[str] = set()
        stale = list(folder.glob("events.out.tfevents.*"))
        with ExitStack() as opened:
            self._table = opened.enter_context(closing(TableWriter(folder / TABLE, earlier, later)))
            self._events = opened.enter_context(closing(EventFile(folder)))
            self._events.add(custom_scalars(CHARTS))
            self._events.add(text("config", options_table(config)))
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
        charted = [name for name in record.metrics if name in TAGS]
        values = [self._scalar(name, record.metrics[name]) for name in charted]
        self._events.add(Summary(value=values), record.steps)

    def _scalar(self, name: str, value: float) -> Summary.Value:
        # a tensor: of a simple_value, TensorBoard's fast loader drops the description
        number = TensorProto(dtype=DT_FLOAT, float_val=[value])
        if name in self._described:
            return Summary.Value(tag=TAGS[name], tensor=number)
        self._described.add(name)
        metadata = SummaryMetadata(
            plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"),
            summary_description=f"{METRICS[name]} (`{name}` in metrics.csv)",
            data_class=DATA_CLASS_SCALAR,
        )
        return Summary.Value(tag=TAGS[name], tensor=number, metadata=metadata)

    def write_results(self, results: Mapping[str, float]) -> None:
        """Write the run's results as TensorBoard's hyperparameters page has them.

        Args:
            results: names to final values.
        """
        tags = {f"result/{name}": value for name, value in results.items()}
        for summary in hparams(hyperparameters(self._config), tags):
            self._events.add(summary)
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in tags.items()]
        self._events.add(Summary(value=values))

    def forget_later(self) -> None:
        """Drop the rows that were to be made again and are not: training has ended before them."""
        self._table.forget_later()

    def close(self) -> None:
        """Close the files."""
        self._opened.close()
