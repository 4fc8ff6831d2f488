"""Work ahead: while the user reads and types, the model reads what its next prompt will begin with.

After an answer that is the history as the next turn renders it, and then the text of the composer as it grows: so
little is left to evaluate when it is sent. When nothing happens for a while, the state is kept on disk for later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from inglenook.chat.context import fit
from inglenook.chat.history import History
from inglenook.core.errors import UserError
from inglenook.core.events import Finished
from inglenook.core.inference import EngineState, Generation, InferenceService
from inglenook.core.messages import user
from inglenook.core.prompt import Segment, Special
from inglenook.harmony import specials

_log = logging.getLogger(__name__)
KEEP_AFTER = 20.0  # seconds without anything new until the state is kept
_ENDS = (Special(specials.START), Special(specials.END))
CLOSING = 3.0  # seconds that the end of the program may wait for that


@dataclass(frozen=True, slots=True)
class _Wish:
    """What to evaluate: a conversation as the next turn has it, with what of the next message is there."""

    conversation_id: str
    history: History
    draft: str = ""
    keep: bool = False


class WorkAhead:
    """Its methods return at once, but for `close`; the thread of its own waits for the engine.

    `allowed` is asked before each piece of work, `keeps` before a state is written.
    """

    def __init__(
        self,
        inference: InferenceService,
        allowed: Callable[[], bool],
        keeps: Callable[[], bool],
        keep_after: float = KEEP_AFTER,
    ) -> None:
        self._inference = inference
        self._allowed, self._keeps = allowed, keeps
        self._keep_after = keep_after
        self._changed = threading.Condition()
        self._wish: _Wish | None = None
        self._unkept: _Wish | None = None  # whose state is worth keeping when there is time
        self._running: Generation | None = None
        self._is_keeping = False  # what runs writes a state, too
        self._forgotten: set[str] = set()
        self._closed = False
        self._thread: threading.Thread | None = None

    def answered(self, conversation_id: str, history: History) -> None:
        """An answer is complete; `history` has it as its last message."""
        self._want(_Wish(conversation_id, history), keeps=True)

    def typed(self, conversation_id: str, history: History, draft: str) -> None:
        """The next message has come as far as `draft`; `history` is what stands before it."""
        self._want(_Wish(conversation_id, history, draft))

    def stop(self) -> None:
        """A turn begins, or the conversation changes otherwise: what was wanted is of no use any more."""
        with self._changed:
            self._wish = self._unkept = None
            self._cancel()

    def forget(self, conversation_id: str) -> None:
        """The conversation is deleted: nothing is kept of it."""
        self.stop()
        with self._changed:
            self._forgotten.add(conversation_id)
        self._remove(conversation_id)

    def _remove(self, conversation_id: str) -> None:
        try:
            self._inference.forget(conversation_id)
        except OSError as error:
            _log.warning("the state of a deleted chat could not be removed: %s", error)

    def close(self) -> None:
        """Keeps what is worth it, and ends the thread."""
        with self._changed:
            self._closed = True
            self._cancel()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(CLOSING)

    def _want(self, wish: _Wish, *, keeps: bool = False) -> None:
        with self._changed:
            if self._closed:
                return
            self._wish = wish
            self._forgotten.discard(wish.conversation_id)  # a deleted chat was brought back
            if keeps:
                self._unkept = replace(wish, keep=True)
            self._cancel()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="chat-ahead", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _cancel(self) -> None:
        """Not what writes a state: other work stops its evaluation anyway, and nobody waits for the disk.

        The engine does not answer a cancel while it writes, and would be taken for hung on a slow disk.
        """
        if self._running is not None and not self._is_keeping:
            self._running.cancel()

    # -- the thread --

    def _work(self) -> None:
        while (wish := self._next()) is not None:
            try:
                if self._allowed() and (not wish.keep or self._keeps()):
                    self._do(wish)
            except UserError as error:
                _log.info("no work ahead: %s", error)
            except Exception:  # our bug: it costs nothing but time later
                _log.exception("work ahead failed")

    def _next(self) -> _Wish | None:
        """Waits for what is wanted, or for the time to keep a state; None at the end."""
        with self._changed:
            while self._wish is None and not self._closed:
                if not self._changed.wait(self._keep_after if self._unkept is not None else None):
                    break
            elsewhere = self._wish is not None and not self._continues(self._wish)
            if self._wish is not None and not self._closed and not elsewhere:
                wish, self._wish = self._wish, None
                return wish
            if not elsewhere:
                self._wish = None
            unkept, self._unkept = self._unkept, None
            return unkept

    def _continues(self, wish: _Wish) -> bool:
        """Whether it leaves what is to be kept in the engine's cache, as another chat's does not."""
        return self._unkept is None or self._unkept.conversation_id == wish.conversation_id

    def _do(self, wish: _Wish) -> None:
        status = self._inference.status()
        if status.state is not EngineState.READY or status.model is None:
            return
        info = status.model

        def count(texts: Sequence[Sequence[Segment]], _ids: Sequence[str]) -> Sequence[int]:
            return self._inference.counts(info.spec, texts).tokens

        # With a message, as the context drops old turns by what the whole next prompt takes.
        history = wish.history.then(user(wish.draft or "…"))
        segments = beginning(fit(history, info.n_ctx, info.vocabulary, count), draft=bool(wish.draft))
        with self._changed:
            if not wish.keep and (self._wish is not None or self._closed):
                return
            self._is_keeping = wish.keep
            self._running = running = self._inference.prefill(
                info.spec, segments, wish.conversation_id if wish.keep else ""
            )
        for event in running:
            if isinstance(event, Finished):
                _log.debug("work ahead ended: %s", event)
        with self._changed:
            self._running = None
            deleted = wish.keep and wish.conversation_id in self._forgotten
        if deleted:  # while it was being written
            self._remove(wish.conversation_id)


def beginning(segments: tuple[Segment, ...], *, draft: bool) -> tuple[Segment, ...]:
    """Of a rendered prompt that ends with a user's message: what comes before that, or with `draft` before its end."""
    marks = [i for i, segment in enumerate(segments) if segment in _ENDS]
    start, end, _ = marks[-3:]  # <|start|>user<|message|>draft<|end|><|start|>assistant
    return segments[:end] if draft else segments[:start]
