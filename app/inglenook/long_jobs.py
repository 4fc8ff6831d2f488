"""What counts as a long job, for which the machine is kept awake if the user wants it: listeners for `core.awake`."""

from __future__ import annotations

from collections.abc import Callable

from inglenook.chat.events import AnswerEnded, AnswerWaiting, ApprovalAsked, ChatEvent
from inglenook.core.awake import Awake
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.files import transfers
from inglenook.library.making import conversions
from inglenook.library.remote.downloads import DownloadStatus, State
from inglenook.library.shelf_events import ShelfEvent, ShelfStatus


def of_chat(awake: Awake) -> Callable[[ChatEvent], None]:
    """An answer, from where it begins to wait for the model to its end; not while it waits for the user."""

    def listen(event: ChatEvent) -> None:
        match event:
            case AnswerWaiting(conversation_id):
                awake.set(f"answer {conversation_id}", busy=True)
            case AnswerEnded(conversation_id) | ApprovalAsked(conversation_id):
                awake.set(f"answer {conversation_id}", busy=False)

    return listen


def of_downloads(awake: Awake) -> Callable[[DownloadStatus], None]:
    """A download that gets on; one that waits for a network would keep a machine awake for nothing."""
    return lambda status: awake.set(f"download {status.id}", busy=status.state is State.RUNNING)


def of_shelf(awake: Awake) -> Callable[[ShelfEvent], None]:
    """A model that is being copied, moved or made."""

    def listen(event: ShelfEvent) -> None:
        if isinstance(event, ShelfStatus):
            transfer, conversion = event.transfer, event.conversion
            awake.set("transfer", busy=transfer is not None and transfer.stage in transfers.RUNNING)
            awake.set("conversion", busy=conversion is not None and conversion.stage in conversions.RUNNING)

    return listen


def of_model(awake: Awake) -> Callable[[ModelStatus], None]:
    """The demo model, which is being made."""
    return lambda status: awake.set("model", busy=status.state is ModelState.PREPARING)
