"""What the commands are handed: the program's parts, as `inglenook.bootstrap` makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # so that --help is quick
    from inglenook.chat.service import ChatService
    from inglenook.core.inference import InferenceService
    from inglenook.core.paths import Paths
    from inglenook.core.settings import Settings
    from inglenook.library.remote.access_token import AccessToken
    from inglenook.library.remote.network import Network
    from inglenook.library.service import ModelService
    from inglenook.library.shelf import Shelf


class Services(Protocol):
    """The parts; each is made when it is first asked for."""

    @property
    def paths(self) -> Paths:
        """Where this user's files are."""
        ...

    @property
    def settings(self) -> Settings:
        """What the user has set."""
        ...

    @property
    def inference(self) -> InferenceService:
        """The engine."""
        ...

    @property
    def models(self) -> ModelService:
        """The chosen model."""
        ...

    @property
    def network(self) -> Network:
        """The way out, with its switch."""
        ...

    @property
    def token(self) -> AccessToken:
        """The user's access token for the Hub."""
        ...

    @property
    def shelf(self) -> Shelf:
        """Models to get, and those that are here."""
        ...

    @property
    def chat(self) -> ChatService:
        """Conversations, stored."""
        ...

    def close(self) -> None:
        """Ends what was made."""
        ...


Factory = Callable[[Path | None, str], Services]
"""Makes the services for a model file of this run alone (or None) and a name for the log."""
