"""TensorBoard's file of a run."""

import struct
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR, Summary, SummaryMetadata
from torch.utils.tensorboard.summary import custom_scalars, hparams, text

from trpo.agents.metrics import METRICS, UpdateRecord
from trpo.agents.runs.board import CHARTS, EPISODE, TAGS, hyperparameters, options_table
from trpo.agents.runs.config import RunConfig
from trpo.agents.runs.event_file import EventFile
from trpo.agents.runs.sinks import Outcome
from trpo.agents.runs.videos import animations
from trpo.agents.storage.files import read_file


class TensorBoard:
    """A sink without gaps: when training resumes, it is rewritten from the table.

    Args:
        folder: the run's, existing; files of earlier processes are removed.
        config: the run's configuration.
        earlier: updates before the one at which training resumes; none is missing or repeated.
    """

    def __init__(
        self, folder: Path, config: RunConfig, earlier: Sequence[UpdateRecord] = ()
    ) -> None:
        self._config = config
        self._described: set[str] = set()
        stale = list(folder.glob("events.out.tfevents.*"))
        with ExitStack() as opened:
            self._events = opened.enter_context(closing(EventFile(folder)))
            self._events.add(custom_scalars(CHARTS))
            self._events.add(text("config", options_table(config)))
            for record in earlier:
                self.write(record)
            for steps, animation in animations(folder, earlier[-1].steps if earlier else 0):
                self._add_animation(steps, animation)
            opened.pop_all()  # closed by an exception above
        for path in stale:
            path.unlink()

    def write(self, record: UpdateRecord) -> None:
        """Write those charted metrics that an update has.

        Args:
            record: the update.
        """
        charted = [name for name in record.metrics if name in TAGS]
        values = [self._scalar(name, record.metrics[name]) for name in charted]
        self._events.add(Summary(value=values), record.steps)

    def _scalar(self, name: str, value: float) -> Summary.Value:
        if name in self._described:
            return Summary.Value(tag=TAGS[name], simple_value=value)
        self._described.add(name)
        metadata = SummaryMetadata(
            plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"),
            summary_description=f"{METRICS[name]} (`{name}` in metrics.csv)",
            data_class=DATA_CLASS_SCALAR,  # else TensorBoard's fast loader drops the description
        )
        return Summary.Value(tag=TAGS[name], simple_value=value, metadata=metadata)

    def write_video(self, record: UpdateRecord, file: Path) -> None:
        """Write a video's animation, among the images.

        Args:
            record: the update after which it was filmed.
            file: *.mp4, with an animation *.gif next to it.
        """
        self._add_animation(record.steps, file.with_suffix(".gif"))

    def _add_animation(self, steps: int, file: Path) -> None:
        content = read_file(file)
        if len(content) < 10 or not content.startswith(b"GIF8"):
            return  # earlier versions could leave a partial one when killed
        width, height = struct.unpack_from("<HH", content, 6)  # the first bytes of a GIF
        image = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=content
        )
        self._events.add(Summary(value=[Summary.Value(tag=EPISODE, image=image)]), steps)

    def write_results(self, results: Mapping[str, float]) -> None:
        """Write the run's results to the hyperparameters page.

        Args:
            results: names to final values.
        """
        tags = {f"result/{name}": value for name, value in results.items()}
        for summary in hparams(hyperparameters(self._config), tags):
            self._events.add(summary)
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in tags.items()]
        self._events.add(Summary(value=values))

    def close(self, outcome: Outcome) -> None:  # noqa: ARG002 the interface has it
        """Close the file.

        Args:
            outcome: not used.
        """
        self._events.close()
