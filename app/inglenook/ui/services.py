"""What the window needs of the rooms below, as Protocols: `ChatService` and `ModelService` are the real ones.

All methods only queue and return at once, so that the GUI thread never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from inglenook.chat.events import ChatEvent
from inglenook.core.messages import Effort
from inglenook.library.events import ModelStatus
from inglenook.library.files.found import Found
from inglenook.library.remote.access_token import Kept
from inglenook.library.shelf_events import ShelfEvent, ShelfStatus


class Chats(Protocol):
    """Conversations with the model; see `inglenook.chat.service.ChatService`."""

    def subscribe(self, listener: Callable[[ChatEvent], None], /) -> Callable[[], None]:
        """Calls `listener` on worker threads; returns the function that ends it."""
        ...

    def list_chats(self) -> None:
        """A `ChatsChanged` follows."""
        ...

    def new_chat(self) -> str:
        """Makes an empty conversation and returns its id at once; a `TreeChanged` follows."""
        ...

    def open(self, conversation_id: str, /) -> None:
        """A `TreeChanged` follows."""
        ...

    def watch(self, conversation_id: str, /) -> None:
        """`ContextChanged`s of this conversation follow, and of no other."""
        ...

    def pin(self, conversation_id: str, message_id: str, *, pinned: bool) -> None:
        """Keeps a message in the model's context, or no longer; a `TreeChanged` follows."""
        ...

    def send(self, conversation_id: str, text: str, /) -> None:
        """Adds the user's message and starts an answer."""
        ...

    def edit(self, conversation_id: str, message_id: str, text: str, /) -> None:
        """Adds a sibling of the user's message and starts an answer."""
        ...

    def regenerate(self, conversation_id: str, message_id: str, effort: Effort | None = None, /) -> None:
        """Starts another answer beside that one."""
        ...

    def continue_answer(self, conversation_id: str, message_id: str, /) -> None:
        """Goes on with an answer that was cut off."""
        ...

    def answer_now(self, conversation_id: str, /) -> None:
        """Ends the reasoning that is being written; the answer follows at once."""
        ...

    def answer_call(self, conversation_id: str, call_id: str, *, allowed: bool, in_chat: bool = False) -> None:
        """Says whether the tool may be called that `ApprovalAsked` was about."""
        ...

    def show_sibling(self, conversation_id: str, message_id: str, /) -> None:
        """Shows the branch of that message."""
        ...

    def stop(self, conversation_id: str, /) -> None:
        """Ends the answer that is being written."""
        ...

    def set_effort(self, conversation_id: str, effort: Effort, /) -> None:
        """How long the model reasons in this conversation."""
        ...

    def set_model(self, conversation_id: str, name: str, /) -> None:
        """The model of its answers, as `core.inference.ModelSource` names it."""
        ...

    def rename(self, conversation_id: str, title: str, /) -> None:
        """Gives it another title."""
        ...

    def delete(self, conversation_id: str, /) -> None:
        """Marks it as deleted."""
        ...

    def restore(self, conversation_id: str, /) -> None:
        """Undoes a deletion."""
        ...

    def save_draft(self, conversation_id: str, text: str, /) -> None:
        """Keeps what is typed and not sent."""
        ...


class Models(Protocol):
    """The model in use; see `inglenook.library.service.ModelService`."""

    def status(self) -> ModelStatus:
        """As it is now."""
        ...

    def subscribe(self, listener: Callable[[ModelStatus], None], /) -> Callable[[], None]:
        """Calls `listener` on worker threads; returns the function that ends it."""
        ...

    def use_file(self, path: Path, /) -> None:
        """Chooses a GGUF file."""
        ...

    def use_demo(self) -> None:
        """Chooses the demo model."""
        ...

    def retry(self) -> None:
        """Tries the model in use again."""
        ...

    def cancel(self) -> None:
        """Stops preparing or loading; the model that was in use before stays."""
        ...

    def answering(self, name: str, /) -> str:
        """The name of the model that answers a conversation which remembers `name`; at once."""
        ...


class Token(Protocol):
    """The Hub's access token; see `inglenook.library.remote.access_token.AccessToken`. All but `kept` may take long."""

    def kept(self) -> Kept:
        """Where it is; at once."""
        ...

    def set(self, text: str, /) -> Kept:
        """Keeps a token; `UserError` if it is none."""
        ...

    def remove(self) -> None:
        """Forgets it; `UserError` if the keyring does not."""
        ...


class Shelf(Protocol):
    """Models on offer and those that are here; see `inglenook.library.shelf.Shelf`."""

    def status(self) -> ShelfStatus:
        """As it is now."""
        ...

    def subscribe(self, listener: Callable[[ShelfEvent], None], /) -> Callable[[], None]:
        """Calls `listener` on worker threads; returns the function that ends it."""
        ...

    def refresh(self) -> None:
        """Looks at disk and memory again; `ShelfStatus`es follow."""
        ...

    def remember(self, names: frozenset[str], /) -> None:
        """The models of all conversations, to be listed too."""
        ...

    def get(self, key: str, /) -> None:
        """Fetches a model of the catalogue, or goes on with it."""
        ...

    def find(self, text: str, /) -> None:
        """Asks the Hub for the models at an address."""
        ...

    def stop_finding(self) -> None:
        """Ends what is being asked."""
        ...

    def pause(self, key: str, /) -> None:
        """Stops its download; what has arrived stays."""
        ...

    def cancel(self, key: str, /) -> None:
        """Stops its download and removes what has arrived."""
        ...

    def delete(self, model: Found, /) -> None:
        """Deletes a model of our own; a `Removed` follows."""
        ...

    def undo_delete(self, id_: str = "", /) -> None:
        """Brings back what was deleted last, or what has that id in the bin."""
        ...

    def empty_bin(self) -> None:
        """Really removes what was deleted; an `Emptied` follows."""
        ...

    def import_model(self, source: Path, /) -> None:
        """Copies the model in a file or folder into our own folder; see `ShelfStatus.transfer`."""
        ...

    def move(self, model: Found, folder: Path, /) -> None:
        """Moves a model of ours, or one that the user chose; see `ShelfStatus.transfer`."""
        ...

    def cancel_transfer(self) -> None:
        """Ends copying or moving, or forgets one that has ended."""
        ...

    def convert(self, source: Path, base: Path | None = None, /) -> None:
        """Makes a model of a checkpoint's or an adapter's folder; see `ShelfStatus.conversion`."""
        ...

    def cancel_conversion(self) -> None:
        """Ends it, or forgets one that has ended."""
        ...

    def read_traffic(self) -> None:
        """A `TrafficRead` follows."""
        ...
