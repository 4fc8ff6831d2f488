"""A conversion as one line: what it does, how far it is, what can be done about it. Used wherever one is shown."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton, QWidget

from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.library.making.conversions import RUNNING, ConversionStatus, Stage
from inglenook.library.progress import speed
from inglenook.ui import model_words
from inglenook.ui.widgets.job_row import JobRow


def words_of(status: ConversionStatus) -> str:
    """How it goes; what is missing or wrong."""
    amount = tr(N_("{done} of {total}"), done=gigabytes(status.done), total=gigabytes(status.total))
    match status.stage:
        case Stage.NEEDS_BASE if status.wants:
            text = N_("This adapter belongs to the model {name}, which is not found here. Choose that model's folder.")
            return tr(text, name=status.wants)
        case Stage.NEEDS_BASE:
            return tr(N_("This adapter does not say which model it belongs to. Choose that model's folder."))
        case Stage.READING:
            return tr(N_("Reading the checkpoint, and what room it takes…"))
        case Stage.SYNCING:
            return tr(N_("Step 1 of 2, writing: waiting for the disk…"))
        case Stage.WRITING:
            text = tr(N_("Step 1 of 2, writing: {amount}"), amount=amount)
        case Stage.VERIFYING:
            text = tr(N_("Step 2 of 2, comparing with the checkpoint: {amount}"), amount=amount)
        case _:
            return status.error.text() if status.error is not None else amount
    parts = [text]
    if status.rate:
        parts.append(speed(status.rate))
    if status.seconds_left is not None:
        parts.append(tr(N_("{time} left"), time=model_words.duration(status.seconds_left)))
    return " · ".join(parts)


class ConversionRow(JobRow):
    """Shows one conversion; hidden without one."""

    base_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        self.base = QPushButton(tr(N_("Choose its &base…")))
        super().__init__(N_("{action}: conversion of {title}"), parent, (self.base,))
        self.base.setAccessibleName(tr(N_("Choose the model that the adapter belongs to")))
        self.base.clicked.connect(self.base_requested)

    def show_conversion(self, status: ConversionStatus | None) -> None:
        """Shows it."""
        if status is None:
            self.hide_job()
            return
        running = status.stage in RUNNING
        heading = tr(N_("Converting {title}"), title=status.title) if running else status.title
        self.base.setVisible(status.stage is Stage.NEEDS_BASE)
        self.show_job(
            status.title,
            heading,
            words_of(status),
            (status.done, status.total),
            stage=status.stage,
            running=running,
            failed=status.stage is Stage.FAILED,
        )
