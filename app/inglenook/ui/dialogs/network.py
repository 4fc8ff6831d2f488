"""What the network was used for: every request ever made, and the switch that forbids all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QDateTime,
    QLocale,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.core.settings import ALLOW_NETWORK, Settings
from inglenook.library.remote.network import PURPOSES
from inglenook.library.remote.traffic import Request
from inglenook.ui.theme import SPACE, Theme

_COLUMNS = (N_("Time"), N_("Host"), N_("Purpose"), N_("Received"), N_("Sent"), N_("Requests"))
_REFRESH_MS = 2000
_AnyIndex = QModelIndex | QPersistentModelIndex


class NetworkDialog(QDialog):
    """Shows what `show_requests` is given, newest first. Asks for news while it is open."""

    refresh_requested = Signal()

    def __init__(self, settings: Settings, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self.setWindowTitle(tr(N_("Network")))
        self.setObjectName("network")
        about = QLabel(
            tr(
                N_(
                    "Inglenook opens a connection only for something that you started, such as the download of a "
                    "model. Chats never leave this computer. This is the list of every request ever made."
                )
            )
        )
        about.setWordWrap(True)
        self.switch = QCheckBox(tr(N_("&Allow downloads")))
        self.switch.setAccessibleName(tr(N_("Allow downloads")))
        self.switch.setAccessibleDescription(tr(ALLOW_NETWORK.help))
        self.switch.setChecked(settings.get(ALLOW_NETWORK))
        self.switch.toggled.connect(self._switched)
        self._state = QLabel()
        self._state.setProperty("role", "small")
        self._state.setWordWrap(True)
        self.table = _Table()
        self.table.setAccessibleName(tr(N_("Requests")))
        self._sum = QLabel()
        self._sum.setProperty("role", "small")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close = buttons.button(QDialogButtonBox.StandardButton.Close)
        close.setText(tr(N_("&Close")))
        close.setAccessibleName(tr(N_("Close")))
        close.setIcon(QIcon())
        close.setAutoDefault(False)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE.xl, SPACE.l, SPACE.xl, SPACE.m)
        column.setSpacing(SPACE.m)
        column.addWidget(about)
        column.addWidget(self.switch)
        column.addWidget(self._state)
        column.addWidget(self.table, 1)
        column.addWidget(self._sum)
        column.addWidget(buttons)
        self._timer = QTimer(self)
        self._timer.setInterval(_REFRESH_MS)
        self._timer.timeout.connect(self.refresh_requested)
        self._timer.start()
        self.resize(760, 560)
        self._tell_state()
        self.show_requests(())

    def show_requests(self, requests: Sequence[Request]) -> None:
        """Shows them, given oldest first."""
        self.table.requests.show(requests)
        count = sum(one.count for one in requests)
        if not count:
            self._sum.setText(tr(N_("No request was ever made.")))
            return
        received, sent = (sum(getattr(one, name) for one in requests) for name in ("received", "sent"))
        words = N_("{count} requests; {received} received, {sent} sent.")
        self._sum.setText(tr(words, count=count, received=amount(received), sent=amount(sent)))

    def said(self) -> str:
        """The line below the list."""
        return self._sum.text()

    def _switched(self, allowed: bool) -> None:
        self._settings.set(ALLOW_NETWORK, allowed)
        self._tell_state()

    def _tell_state(self) -> None:
        allowed = self._settings.get(ALLOW_NETWORK)
        self._state.setText(
            tr(N_("Downloads that you start may use the network."))
            if allowed
            else tr(N_("No connection is opened, whatever is asked for. Downloads wait until you allow them again."))
        )


class Requests(QAbstractTableModel):
    """Requests as rows, newest first."""

    def __init__(self) -> None:
        super().__init__()
        self._requests: list[Request] = []

    def show(self, requests: Sequence[Request]) -> None:
        """Takes them, given oldest first; keeps the place in the list where nothing is new."""
        newest_first = list(reversed(requests))
        if newest_first == self._requests:
            return
        if len(newest_first) == len(self._requests):
            self._requests = newest_first
            self.dataChanged.emit(self.index(0, 0), self.index(len(newest_first) - 1, len(_COLUMNS) - 1))
            return
        self.beginResetModel()
        self._requests = newest_first
        self.endResetModel()

    def rowCount(self, parent: _AnyIndex = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        """See QAbstractItemModel."""
        return 0 if parent.isValid() else len(self._requests)

    def columnCount(self, parent: _AnyIndex = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        """See QAbstractItemModel."""
        return 0 if parent.isValid() else len(_COLUMNS)

    def data(self, index: _AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """See QAbstractItemModel."""
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() >= 3:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return None
        one = self._requests[index.row()]
        return (
            _when(one),
            one.host,
            tr(PURPOSES.get(one.purpose, one.purpose)),
            amount(one.received),
            amount(one.sent),
            str(one.count),
        )[index.column()]

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> str | None:
        """See QAbstractItemModel."""
        if orientation is Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return tr(_COLUMNS[section])
        return None


class _Table(QTableView):
    def __init__(self) -> None:
        super().__init__()
        self.requests = Requests()
        self.setModel(self.requests)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        header.setResizeContentsPrecision(50)


def amount(count: int) -> str:
    """Bytes, for people; a few are told exactly."""
    if count < 1000:
        return tr(N_("{count} B"), count=count)
    return f"{count / 1e3:.0f} kB" if count < 1_000_000 else gigabytes(count)


def _when(one: Request) -> str:
    locale, short = QLocale(), QLocale.FormatType.ShortFormat

    def text(seconds: float) -> str:
        return locale.toString(QDateTime.fromSecsSinceEpoch(int(seconds)), short)

    return f"{text(one.time)} – {text(one.until)}" if one.until > one.time else text(one.time)
