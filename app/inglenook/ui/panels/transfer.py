"""A model that is being copied or moved, as one line. Used wherever one is shown."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from inglenook.core.i18n import N_, tr
from inglenook.library.files.transfers import RUNNING, Stage, TransferStatus, What
from inglenook.library.progress import speed
from inglenook.ui import model_words
from inglenook.ui.widgets.job_row import JobRow


def words_of(status: TransferStatus) -> str:
    """How it goes; what is wrong."""
    if status.error is not None:
        return status.error.text()
    if status.stage is Stage.LOOKING or not status.total:
        return tr(N_("Looking at it, and what room there is…"))
    percent = 100 * status.done // status.total
    text = N_("{percent}% · Reading back what was written") if status.stage is Stage.CHECKING else N_("{percent}%")
    parts = [tr(text, percent=percent)]
    if status.rate:
        parts.append(speed(status.rate))
    if status.seconds_left is not None:
        parts.append(tr(N_("{time} left"), time=model_words.duration(status.seconds_left)))
    return " · ".join(parts)


class TransferRow(JobRow):
    """Shows one job; hidden without one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(N_("{action}: copying or moving {title}"), parent)

    def show_transfer(self, status: TransferStatus | None) -> None:
        """Shows it."""
        if status is None:
            self.hide_job()
            return
        running = status.stage in RUNNING
        doing = N_("Copying {title}") if status.what is What.IMPORT else N_("Moving {title}")
        self.show_job(
            status.title,
            tr(doing, title=status.title) if running else status.title,
            words_of(status),
            (status.done, status.total),
            stage=status.stage,
            running=running,
            failed=status.stage is Stage.FAILED,
        )
