"""The command line: arguments in, exit code out. Errors are one line on stderr; code 2 is for what was typed, 1 else.

The window is the program's other face and is opened by `inglenook.__main__`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import inglenook
from inglenook.cli import terminal
from inglenook.cli.services import Factory, Services
from inglenook.cli.terminal import INTERRUPTED, BadInputError, one_line
from inglenook.core.errors import UserError
from inglenook.core.i18n import N_, tr
from inglenook.core.messages import Effort


class _Parser(argparse.ArgumentParser):
    """Tells an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)}\n")


def main(argv: Sequence[str], services: Factory) -> int:
    """Runs one verb; returns the exit code."""
    terminal.prepare()
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as end:  # argparse has said why
        return end.code if isinstance(end.code, int) else 2
    try:
        return _run(arguments, services)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has enough
        terminal.silence_stdout()
        return 1
    except UserError as error:
        return _fail(arguments.verb, str(error), 2 if isinstance(error, BadInputError) else 1)
    except Exception as bug:
        logging.getLogger(__name__).exception("%s failed", arguments.verb)
        text = tr(N_("Inglenook made a mistake ({kind}). The log has the details."), kind=repr(bug))
        return _fail(arguments.verb, text, 1)


def _fail(verb: str, text: str, code: int) -> int:
    print(f"inglenook {verb}: {one_line(text)}", file=sys.stderr)
    return code


def _run(arguments: argparse.Namespace, factory: Factory) -> int:
    model: Path | None = getattr(arguments, "model", None)
    if model is not None:
        check_model_file(model)
    with contextlib.closing(factory(model, arguments.verb)) as services:
        return _verb(arguments, services)


def _verb(arguments: argparse.Namespace, services: Services) -> int:
    # Imported when needed: `ask --help` has no use for a database or an engine.
    if arguments.verb == "ask":
        from inglenook.cli import ask

        return ask.run(services, arguments)
    if arguments.verb == "chat":
        from inglenook.cli import chat

        return chat.run(services, is_demo=arguments.model is None and chat.demo_is_chosen(services))
    if arguments.verb == "bench":
        from inglenook.cli import bench

        return bench.run(services, arguments)
    if arguments.verb == "models":
        from inglenook.cli import models

        return models.run(services, arguments)
    from inglenook.cli import doctor

    return doctor.run(services, as_json=arguments.json, model=arguments.model)


def check_model_file(file: Path) -> None:
    """Raises BadInputError where that file cannot be a model at all; the engine finds what is wrong inside."""
    if file.exists() and not file.is_file() and not file.is_dir():  # to open a named pipe is to wait for ever
        raise BadInputError(N_("{file} is not a file. Name a GGUF file."), file=file)
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except FileNotFoundError:
        raise BadInputError(N_("There is no file {file}. Check the name."), file=file) from None
    except IsADirectoryError:
        raise BadInputError(N_("{file} is a folder. Name a GGUF file."), file=file) from None
    except OSError as error:
        raise BadInputError(
            N_("{file} cannot be read ({reason})."), file=file, reason=error.strerror or error
        ) from None
    if magic != b"GGUF":
        raise BadInputError(
            N_("{file} is not a GGUF file. Make one from a safetensors checkpoint with inglenook-convert."), file=file
        )


def parser() -> argparse.ArgumentParser:
    """The arguments of every verb."""
    top = _Parser(
        prog="inglenook",
        description=tr(N_("Chat with gpt-oss on your own machine. Without a command, the window opens.")),
    )
    top.add_argument("--version", action="version", version=f"inglenook {inglenook.__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    model_help = tr(N_("a GGUF file to use this once instead of the chosen model"))

    ask = verbs.add_parser("ask", help=tr(N_("answer one question on standard output")))
    ask.add_argument("question", nargs="?", default="-", help=tr(N_("the question; - or nothing reads standard input")))
    ask.add_argument("--model", type=Path, metavar="FILE", help=model_help)
    ask.add_argument("--effort", choices=[str(effort) for effort in Effort], help=tr(N_("how long to reason")))
    ask.add_argument(
        "--temperature", type=_temperature, metavar="T", help=tr(N_("0 gives the likeliest answer, up to 2"))
    )
    ask.add_argument("--seed", type=_seed, metavar="N", help=tr(N_("the same number gives the same answer again")))
    ask.add_argument("--max-tokens", type=_count, default=0, metavar="N", help=tr(N_("end after so many tokens")))
    ask.add_argument("--json", action="store_true", help=tr(N_("print one JSON object with reasoning and speed")))
    ask.add_argument(
        "--schema", type=Path, metavar="FILE", help=tr(N_("answer with JSON that matches this JSON schema"))
    )

    chat = verbs.add_parser("chat", help=tr(N_("chat in the terminal")))
    chat.add_argument("--model", type=Path, metavar="FILE", help=model_help)

    bench = verbs.add_parser("bench", help=tr(N_("measure the speed of a model file; prints JSON")))
    bench.add_argument("model", type=Path, metavar="FILE", help=tr(N_("a GGUF file")))
    pairs_help = tr(
        N_("measure so often, the C calls alone and the whole way by turns (default: {default})"), default=10
    )
    bench.add_argument("--pairs", type=_count, default=10, metavar="N", help=pairs_help)
    tokens_help = N_("tokens that are read each time (default: {default})")
    bench.add_argument("--prefill", type=_count, default=512, metavar="N", help=tr(tokens_help, default=512))
    tokens_help = N_("tokens that are written each time (default: {default})")
    bench.add_argument("--decode", type=_count, default=128, metavar="N", help=tr(tokens_help, default=128))

    doctor = verbs.add_parser("doctor", help=tr(N_("versions, devices, memory and folders, for a report")))
    doctor.add_argument(
        "--model", type=Path, metavar="FILE", help=tr(N_("tell how this GGUF file would fit the memory"))
    )
    doctor.add_argument("--json", action="store_true", help=tr(N_("print one JSON object")))
    _add_models(verbs.add_parser("models", help=tr(N_("the models that are here; get, use, verify and remove them"))))
    return top


def _add_models(models: argparse.ArgumentParser) -> None:
    json_help = tr(N_("print one JSON object"))
    models.add_argument("--json", action="store_true", help=json_help)
    what = models.add_subparsers(dest="what", metavar="WHAT")
    catalogue = what.add_parser("catalogue", help=tr(N_("the models to get, and what they take of this computer")))
    catalogue.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=json_help)
    named = tr(N_("a name that `inglenook models` lists"))
    offered = tr(N_("a name of the catalogue, or OWNER/NAME[/FILE] of a repository"))
    for verb, about, name in (
        ("get", N_("fetch a model, or go on with it; Ctrl-C pauses"), offered),
        ("use", N_("choose the model for questions to come"), tr(N_("such a name, demo, or a GGUF file"))),
        ("verify", N_("compare the files of a model with their published sha256"), named),
        ("remove", N_("delete a model that Inglenook fetched or made"), named),
    ):
        what.add_parser(verb, help=tr(about)).add_argument("name", metavar="NAME", help=name)
    token = what.add_parser("token", help=tr(N_("keep an access token, for models that ask for a login")))
    token.add_argument("--remove", action="store_true", help=tr(N_("forget it")))
    bring = what.add_parser("import", help=tr(N_("copy a model into Inglenook's own folder, and check what it is")))
    bring.add_argument("path", metavar="PATH", help=tr(N_("a GGUF file; a folder or drive with one, or a checkpoint")))
    move = what.add_parser("move", help=tr(N_("move a model to another folder or drive, and check the copy")))
    move.add_argument("name", metavar="NAME", help=named)
    move.add_argument("folder", metavar="FOLDER", help=tr(N_("where it is to be")))
    what.add_parser("restore", help=tr(N_("bring back the model that was removed last")))
    what.add_parser("empty-bin", help=tr(N_("really remove what was removed, to make room")))


def _temperature(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(tr(N_("{text} is not between 0 and 2"), text=text))
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 32:
        raise argparse.ArgumentTypeError(tr(N_("{text} is not between 0 and 4294967295"), text=text))
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(tr(N_("{text} is not 1 or more"), text=text))
    return value
