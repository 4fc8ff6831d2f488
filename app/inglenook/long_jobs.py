"""What counts as a long job, for which the machine is kept awake if the user wants it: listeners for `core.awake`."""

from __future__ import annotations

from collections.abc import Callable

from inglenook.chat.events import AnswerEnded, AnswerWaiting, ApprovalAsked, ChatEvent
from inglenook.core.awake import Awake
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.remote.downloads import DownloadStatus, State


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


def of_model(awake: Awake) -> Callable[[ModelStatus], None]:
    """A checkpoint that is being converted."""
    return lambda status: awake.set("model", busy=status.state is ModelState.PREPARING)
