"""The loop of `trpo train` and `trpo resume`: what is made of each update, and when checkpoints are written."""

from contextlib import closing
from pathlib import Path

from trpo.agents.checkpoint_folder import CheckpointFolder
from trpo.agents.telemetry import Telemetry
from trpo.agents.trainer import Trainer
from trpo.scripts.display import Display
from trpo.scripts.interrupt import Interrupt


def learn(
    trainer: Trainer, telemetry: Telemetry, display: Display, folder: Path, interrupt: Interrupt
) -> None:
    """Run the training loop, and write down what comes of it: rows, checkpoints, results.

    Args:
        trainer: new, or restored from a checkpoint.
        telemetry: the run's.
        display: what the user sees.
        folder: the run's; this process holds its lock.
        interrupt: ends training after the update in which it comes.
    """
    checkpoints = CheckpointFolder(folder / "checkpoints")
    with closing(trainer), closing(telemetry), display:
        for record in trainer.updates():
            telemetry.write(record)
            display.show(record)
            last = trainer.finished or bool(interrupt.signal)
            if last:
                telemetry.write_results(display.results())
            if last or trainer.at_resume_point:
                telemetry.sync()  # before the checkpoint, which is never ahead of the table
                checkpoints.save(trainer)
            if last:
                break
    display.summarize(folder)
    if not trainer.finished:
        print(f"interrupted, and saved; to go on: trpo resume {folder}")
