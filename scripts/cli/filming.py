"""Videos during training: episodes of the deterministic policy, in a separate environment."""

import math
import tempfile
import warnings
from contextlib import closing
from pathlib import Path

from trpo.agents.agent import Agent
from trpo.agents.errors import one_line
from trpo.agents.metrics import UpdateRecord
from trpo.agents.randomness import Component, Randomness, shared_generators_kept
from trpo.agents.rollouts.evaluation import evaluate
from trpo.agents.rollouts.rollout import BrokenEnvironmentError, environment_errors
from trpo.agents.runs.videos import file_of
from trpo.agents.storage.files import replace_file
from trpo.envs.factory import make_recording_env
from trpo.scripts.cli.command import UsageError, warn
from trpo.scripts.cli.options import TrainOptions

LONGEST = 1000  # maximum steps that are filmed: all frames of a video are in memory at once
FRAMES, WIDTH = 60, 160  # maximum frames of the animation: TensorBoard loads all of a run's


class Filming:
    """Films as often as the options say.

    Args:
        folder: the run's.
        options: all that defines the run.
        steps: environment steps taken so far.
    """

    def __init__(self, folder: Path, options: TrainOptions, steps: int) -> None:
        self._folder = folder
        self._options = options
        self._steps = steps
        self._randomness = Randomness(options.learner.trainer.seed)
        self._every = options.video_every

    def due(self, record: UpdateRecord) -> bool:
        """Return whether an update passed a multiple of `video_every` since the last call.

        Args:
            record: the update after that of the last call.
        """
        before, self._steps = self._steps, record.steps
        return self._every > 0 and record.steps // self._every > before // self._every

    def film(self, agent: Agent, record: UpdateRecord) -> Path | None:
        """Write a video, and its animation next to it; training is unaffected.

        Args:
            agent: after the update.
            record: the update.

        Returns:
            The video's file; `None` if the environment or its rendering failed; no more are made
            then.
        """
        file = self._folder / file_of(record.steps)
        seed = self._randomness.integer(Component.EVALUATION, record.update)
        try:
            with tempfile.TemporaryDirectory() as folder:
                draft = Path(folder) / file.name
                play_filmed(self._options, agent, draft, seed)
                animation = animate(draft)
                file.parent.mkdir(exist_ok=True)
                replace_file(file, draft.read_bytes())
                replace_file(file.with_suffix(".gif"), animation.read_bytes())
        except Exception as error:  # whatever an environment raises
            self._every = 0
            warn(f"video: {one_line(error)}; training continues without")
            return None
        return file


def play_filmed(options: TrainOptions, agent: Agent, file: Path, seed: int) -> None:
    """Film an episode of the deterministic policy.

    Args:
        options: of the run.
        agent: left as it is.
        file: to write.
        seed: of the environment.
    """
    with shared_generators_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reported when training began
        with closing(make_recording_env(options.env, options.environment, [file], seed)) as env:
            evaluate(env, agent, seed, None, LONGEST)


def check_filming(options: TrainOptions) -> None:
    """Reject an environment that cannot be filmed, before anything of the run is created.

    Args:
        options: all that defines the run.

    Raises:
        EnvError: if the environment cannot be rendered, or a package is missing.
        UsageError: if its rendering fails.
    """
    if not options.video_every:
        return
    with shared_generators_kept(), tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "check.mp4"]
        env = make_recording_env(options.env, options.environment, files, 0)
        try:
            with environment_errors(), closing(env):
                env.reset(seed=0)  # draws an image
        except BrokenEnvironmentError as error:
            raise UsageError(f"{options.env} cannot be filmed: it {error}") from error


def animate(video: Path) -> Path:
    """Write a small GIF next to a video, for where videos cannot be shown.

    Args:
        video: *.mp4.

    Returns:
        The GIF's file.
    """
    from moviepy import VideoFileClip
    from PIL import Image

    with VideoFileClip(str(video)) as clip, clip.reader.proc.stdout, clip.reader.proc.stderr:
        # moviepy closes these two only if ffmpeg has not ended by itself
        rate = min(clip.fps, FRAMES / clip.duration)
        width = min(WIDTH, clip.w)
        size = (width, max(1, round(clip.h * width / clip.w)))
        frames = [Image.fromarray(frame).resize(size) for frame in clip.iter_frames(fps=rate)]
    first, *rest = frames
    animation = video.with_suffix(".gif")
    first.save(
        animation,
        save_all=True,
        append_images=rest,
        # milliseconds; browsers slow down shorter delays to 100
        duration=max(20, math.ceil(1000 / rate)),
        loop=0,
    )
    return animation
