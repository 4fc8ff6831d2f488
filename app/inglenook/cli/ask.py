"""`inglenook ask`: one question, the answer on standard output and nothing else there. Nothing is stored."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from inglenook.cli.services import Services
from inglenook.cli.terminal import INTERRUPTED, BadInputError, StatusLine, harmless, write
from inglenook.core.errors import UserError
from inglenook.core.events import (
    Channel,
    Finished,
    Loading,
    PartDelta,
    PartStarted,
    Prefill,
    Queued,
    StopReason,
    Tokens,
)
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import (
    EngineState,
    GenerateRequest,
    Generation,
    InferenceService,
    ModelInfo,
    ModelSpec,
    Sampling,
)
from inglenook.core.messages import Effort, Message, PreamblePart, Role, TextPart, user
from inglenook.core.prompt import Prompt
from inglenook.core.settings import EFFORT, INSTRUCTIONS, TEMPERATURE, TOP_P, Settings
from inglenook.harmony.parse import Parser
from inglenook.harmony.render import render
from inglenook.harmony.schema_source import SchemaError
from inglenook.harmony.structured import Structured

_QUEUED = N_("Waiting for another answer...")


def run(services: Services, arguments: argparse.Namespace) -> int:
    """Answers; returns the exit code. Ctrl-C cancels what runs in the engine."""
    question = _question(arguments.question)
    schema = None if arguments.schema is None else _schema(arguments.schema)
    status = StatusLine(sys.stderr)
    try:
        status.show(tr(N_("Preparing the model...")))
        spec = services.models.spec(lambda: False)
        info = _load(services.inference, spec, status, named=arguments.model is not None)
        prompt = _prompt(question, arguments.effort, services.settings)
        if schema is not None:
            prompt = replace(prompt, formats=(schema.format,))
        sampling = _sampling(arguments, services.settings)
        request = GenerateRequest(
            spec,
            render(prompt, info.vocabulary),
            sampling,
            arguments.max_tokens,
            constraint=None if schema is None else schema.constraint,
            gives_way=True,  # to the turns of a window beside it
        )
        answer = _Answer(info, status, stream=not arguments.json)
        finished = answer.follow(services.inference.generate(request))
    finally:
        status.clear()
    if finished.error is not None:
        raise UserError.of(finished.error)
    if arguments.json:
        write(sys.stdout, json.dumps(_report(info, answer.message(), finished)) + "\n")
    if finished.reason in (StopReason.LENGTH, StopReason.CONTEXT):
        count = finished.stats.output_tokens
        print(tr(N_("The answer was cut off after {count} tokens."), count=count), file=sys.stderr)
        if schema is not None:  # half a JSON text is of no use to a script
            return 1
    return INTERRUPTED if finished.reason is StopReason.CANCELLED else 0


def _question(given: str) -> str:
    if given == "-":
        if sys.stdin.isatty():
            raise BadInputError(N_('There is no question. Type it in quotation marks: inglenook ask "..."'))
        given = sys.stdin.read()
    if not given.strip():
        raise BadInputError(N_("The question is empty."))
    return given.strip("\r\n")


def _schema(file: Path) -> Structured:
    """Raises `BadInputError` if the file has no schema that can be followed."""
    try:
        schema = json.loads(file.read_bytes())
    except OSError as error:
        reason = error.strerror or error
        raise BadInputError(N_("{file} cannot be read ({reason})."), file=file, reason=reason) from None
    except (ValueError, RecursionError) as error:
        raise BadInputError(N_("{file} is not JSON: {reason}"), file=file, reason=error) from None
    try:
        return Structured.of(schema)
    except SchemaError as error:
        raise BadInputError.of(error.info) from None


def _prompt(question: str, effort: str | None, settings: Settings) -> Prompt:
    return Prompt(
        (user(question),),
        effort=Effort(effort or settings.get(EFFORT)),
        date=datetime.datetime.now().astimezone().date().isoformat(),
        instructions=settings.get(INSTRUCTIONS),
    )


def _sampling(arguments: argparse.Namespace, settings: Settings) -> Sampling:
    temperature = arguments.temperature if arguments.temperature is not None else settings.get(TEMPERATURE)
    return Sampling(temperature=temperature, top_p=settings.get(TOP_P), seed=arguments.seed)


def _load(inference: InferenceService, spec: ModelSpec, status: StatusLine, *, named: bool) -> ModelInfo:
    """Loads the model with progress. What is wrong inside a file that the user `named` is bad input."""
    generation = inference.load(spec)
    try:
        for event in generation:
            if isinstance(event, Loading):
                status.show(tr(N_("Loading the model: {percent}%"), percent=f"{event.fraction * 100:.0f}"))
            elif isinstance(event, Queued):
                status.show(tr(_QUEUED))
            elif isinstance(event, Finished) and event.error is not None:
                crashed = inference.status().state is EngineState.CRASHED
                raise (BadInputError if named and not crashed else UserError).of(event.error)
    except KeyboardInterrupt:
        generation.cancel()
        raise
    return inference.model_info(spec)


class _Answer:
    """Parses the tokens; with `stream`, the final answer goes to standard output as it comes."""

    def __init__(self, info: ModelInfo, status: StatusLine, *, stream: bool) -> None:
        self._parser = Parser(dict(info.specials))
        self._status = status
        self._stream = stream
        self._final: set[int] = set()  # indices of parts
        self._last = ""
        self._doing = N_("Reading...")
        self._waits = False

    def follow(self, generation: Generation) -> Finished:
        """Consumes the generation. On Ctrl-C and when nobody reads any more, it is cancelled."""
        self._status.show(tr(self._doing))
        finished = Finished(StopReason.CANCELLED)
        try:
            for event in generation:
                if isinstance(event, Queued):
                    self._wait()
                elif isinstance(event, Prefill):
                    self._go_on()
                elif isinstance(event, Tokens):
                    self._go_on()
                    for token, piece in zip(event.ids, event.pieces, strict=True):
                        for part in self._parser.feed(token, piece):
                            self._show(part)
                elif isinstance(event, Finished):
                    finished = event
        except (KeyboardInterrupt, BrokenPipeError) as end:
            generation.cancel()
            if isinstance(end, BrokenPipeError):
                raise
        for part in self._parser.finish():
            self._show(part)
        if self._stream:
            if not self._final:
                self._write(_final(self.message()))  # a turn may end with a preamble alone
            if self._last and self._last != "\n":
                self._write("\n")
        return finished

    def _wait(self) -> None:
        """Another's answer goes first."""
        self._waits = True
        if self._last not in ("", "\n") and sys.stdout.isatty():
            self._status.note(tr(N_("(Another answer goes first; this one goes on after it.)")))
        else:
            self._status.show(tr(_QUEUED))

    def _go_on(self) -> None:
        if self._waits:
            self._waits = False
            self._status.clear()
            if not self._last:
                self._status.show(tr(self._doing))

    def message(self) -> Message:
        """What has been said so far."""
        return Message(Role.ASSISTANT, tuple(self._parser.parts))

    def _show(self, event: object) -> None:
        if isinstance(event, PartStarted):
            if event.channel is Channel.FINAL:
                if self._final and self._stream:
                    self._write("\n\n")  # as `Message.text` joins the parts of one answer
                self._final.add(event.index)
                self._status.clear()
            else:
                self._doing = N_("Thinking...")
                self._status.show(tr(self._doing))
        elif isinstance(event, PartDelta) and event.index in self._final and self._stream:
            self._write(event.text)

    def _write(self, text: str) -> None:
        self._status.clear()
        text = harmless(text)
        write(sys.stdout, text)
        self._last = text[-1:] or self._last


def _final(message: Message) -> str:
    return message.text if any(isinstance(part, TextPart | PreamblePart) for part in message.parts) else ""


def _report(info: ModelInfo, message: Message, finished: Finished) -> dict[str, Any]:
    stats = finished.stats
    evaluated = stats.prompt_tokens - stats.cached_tokens
    return {
        "model": info.name,
        "reasoning": message.reasoning,
        "final": message.text,
        "stop": finished.reason.value,
        "prompt_tokens": stats.prompt_tokens,
        "cached_tokens": stats.cached_tokens,
        "output_tokens": stats.output_tokens,
        "ttft_s": round(stats.ttft_s, 4),
        "prefill_tps": _rate(evaluated, stats.prefill_s),
        "decode_tps": _rate(stats.output_tokens - 1, stats.decode_s),  # the first comes out of the prefill
    }


def _rate(tokens: int, seconds: float) -> float | None:
    return round(tokens / seconds, 2) if tokens > 0 and seconds > 0 else None
