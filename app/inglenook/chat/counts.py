"""Tokens of texts, each asked of the engine once: kept in memory, and those of messages in the store too.

So the use of the context is known without counting a long conversation again, also while no model is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

from inglenook.core.conversation import ConversationStore, TokenCount
from inglenook.core.inference import InferenceService, ModelSpec
from inglenook.core.prompt import Ids, Segment, Special, Text

_MOST = 50_000  # counts kept in memory: some megabytes


class TokenCounts:
    """For any thread. What waits for the engine says so."""

    def __init__(self, store: ConversationStore, inference: InferenceService) -> None:
        self._store = store
        self._inference = inference
        self._counts: dict[tuple[str, bytes], int] = {}  # by vocabulary and digest
        self._read: set[tuple[str, str]] = set()  # conversations, under a vocabulary, that were read from the store
        self._windows: dict[ModelSpec, tuple[str, int]] = {}

    def window(self, spec: ModelSpec) -> tuple[str, int]:
        """The model's vocabulary (its hash) and the tokens of its context, 0 if it cannot be loaded.

        Waits for the engine the first time if the model is not loaded. Raises `UserError`.
        """
        loaded = self._inference.status().model
        if loaded is not None and loaded.spec == spec:
            self._windows[spec] = loaded.vocabulary, loaded.n_ctx
        elif spec not in self._windows:
            found = self._inference.counts(spec, ())
            self._windows[spec] = found.vocabulary, found.n_ctx
        return self._windows[spec]

    def known_window(self, spec: ModelSpec) -> tuple[str, int] | None:
        """The same, if it is known without the engine."""
        loaded = self._inference.status().model
        return self.window(spec) if spec in self._windows or (loaded and loaded.spec == spec) else None

    def counter(
        self, spec: ModelSpec, vocabulary: str, conversation_id: str = ""
    ) -> Callable[[Sequence[Sequence[Segment]], Sequence[str]], list[int]]:
        """`context.Count` for a model; it waits for the engine if a text is new, and raises `UserError`."""
        return partial(self._count, spec, vocabulary, conversation_id)

    def _count(
        self,
        spec: ModelSpec,
        vocabulary: str,
        conversation_id: str,
        texts: Sequence[Sequence[Segment]],
        message_ids: Sequence[str],
    ) -> list[int]:
        self._read_stored(conversation_id, vocabulary)
        sampled = [sum(len(s.ids) for s in text if isinstance(s, Ids)) for text in texts]  # known as they are
        others = [tuple(s for s in text if not isinstance(s, Ids)) for text in texts]
        digests = [_digest(text) for text in others]
        known = [self._counts.get((vocabulary, digest)) for digest in digests]
        missing = [i for i, tokens in enumerate(known) if tokens is None]
        if missing:
            found = self._inference.counts(spec, [others[i] for i in missing])
            if len(self._counts) > _MOST:
                self._counts.clear()
                self._read.clear()
            if found.vocabulary != vocabulary:  # the file is another one since
                self._windows.pop(spec, None)
            for i, tokens in zip(missing, found.tokens, strict=True):
                known[i] = tokens
                self._counts[found.vocabulary, digests[i]] = tokens
            if found.vocabulary == vocabulary:
                self._keep(vocabulary, [(message_ids[i], digests[i], known[i] or 0) for i in missing])
        return [(tokens or 0) + more for tokens, more in zip(known, sampled, strict=True)]

    def _read_stored(self, conversation_id: str, vocabulary: str) -> None:
        if conversation_id and (conversation_id, vocabulary) not in self._read:
            for count in self._store.token_counts(conversation_id, vocabulary):
                self._counts[vocabulary, count.digest] = count.tokens
            self._read.add((conversation_id, vocabulary))

    def _keep(self, vocabulary: str, counted: Sequence[tuple[str, bytes, int]]) -> None:
        """The same words in another message are not kept twice: they are soon counted."""
        new = [TokenCount(message_id, digest, tokens) for message_id, digest, tokens in counted if message_id]
        if new:
            self._store.save_token_counts(vocabulary, new)


def _digest(text: Sequence[Segment]) -> bytes:
    """Of control tokens and words."""
    digest = hashlib.blake2b(digest_size=16)
    for segment in text:
        match segment:
            case Special(name):
                digest.update(b"s%d " % len(name) + name.encode())
            case Text(words):
                data = words.encode("utf-8", "surrogatepass")
                digest.update(b"t%d " % len(data) + data)
    return digest.digest()
