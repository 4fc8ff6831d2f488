"""The commands `inglenook-convert SOURCE -o FILE.gguf` (a gpt-oss checkpoint to GGUF) and `inglenook-convert verify`.

Exit codes: 0, or 2 with one line on stderr when the input or the command is wrong or a tensor does not verify, 1 when
the disk fails, 130 and 143 after SIGINT and SIGTERM, 141 when nobody reads the progress any more. What is unfinished is
removed in all these cases.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from inglenook_convert import split, tensor_types
from inglenook_convert.errors import ConvertError
from inglenook_convert.jobs import convert, dry_run, verify
from inglenook_convert.progress import Progress, make_progress

_EPILOG = (
    "Biases, norms, sinks and the router are F32 always. `inglenook-convert verify GGUF SOURCE` compares a GGUF file"
    " (or the first file of a set) with its checkpoint. A checkpoint folder named verify is ./verify."
)


_WRITING = ("write", "sync")  # phases


class Interrupted(BaseException):
    """A signal asked us to end. Not an `Exception`, so that nothing on the way takes it for an error."""

    def __init__(self, number: int) -> None:
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    checking = given[:1] == ["verify"]
    options = _verify_parser().parse_args(given[1:]) if checking else _parser().parse_args(given)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    # As much work goes on at once as there are processors. numpy would begin threads for each of them in each process,
    # which spin before they sleep: a tenth of a second that is not theirs.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    progress = make_progress(options.progress)
    if checking:
        return _run(progress, options.gguf, lambda: verify(options.gguf, options.source, options.base, progress))

    def work() -> None:
        special = (options.attention, options.embedding, options.output_type)
        types = tensor_types.types_of(options.experts, options.others, special, options.mxfp4)
        size: int | None = options.split_max_size
        if options.dry_run:
            dry_run(options.source, options.output, progress, types, base=options.base, max_bytes=size)
        else:
            convert(options.source, options.output, progress, types,
                    base=options.base, max_bytes=size, check=options.verify)  # fmt: skip

    return _run(progress, options.output, work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "inglenook-convert", description="Converts a gpt-oss checkpoint to GGUF.", epilog=_EPILOG, allow_abbrev=False
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder with config.json and safetensors files")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the GGUF file (default: NAME-MXFP4.gguf or so here)"
    )
    parser.add_argument(
        "--base", type=Path, metavar="FOLDER", help="the model to which SOURCE, a LoRA adapter, is applied"
    )
    types = parser.add_argument_group("types")
    types.add_argument("--experts", choices=tuple(tensor_types.EXPERTS), default="mxfp4", help="default: mxfp4")
    types.add_argument(
        "--others", choices=tuple(tensor_types.OTHERS), default="q8_0", help="all other matrices; default: q8_0"
    )
    for what in ("attention", "embedding", "output"):
        types.add_argument(
            f"--{what}-type",
            dest="output_type" if what == "output" else what,
            choices=tuple(tensor_types.OTHERS),
            metavar="TYPE",
            help=f"of {what} alone",
        )
    types.add_argument(
        "--mxfp4",
        choices=("best", "ggml"),
        default="best",
        help="the scales of dense experts: of least error (default), or those of llama.cpp. Published MXFP4 is kept.",
    )
    parser.add_argument(
        "--split-max-size", type=_size, metavar="SIZE", help="several files, each at most this large: 4G, 4000M"
    )
    parser.add_argument("--verify", action="store_true", help="read the file again and compare it with SOURCE")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be written, and how long it takes")
    _add_progress(parser)
    return parser


def _verify_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "inglenook-convert verify", description="Compares every tensor of a GGUF file with its checkpoint."
    )
    parser.add_argument("gguf", type=Path, metavar="GGUF", help="the file, or the first one of a set")
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the checkpoint from which it was made")
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="the base model, if SOURCE is a LoRA adapter")
    _add_progress(parser)
    return parser


def _add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--progress", choices=("text", "json"), default="text", help="json: one object a line")
    parser.add_argument("--json", dest="progress", action="store_const", const="json", help="as --progress json")


def _size(text: str) -> int:
    try:
        return split.parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(progress: Progress, file: Path | None, action: Callable[[], None]) -> int:
    try:
        action()
    except ConvertError as error:
        return _fail(progress, str(error), 2)
    except BrokenPipeError:
        # Our reader is gone, and so is whoever wanted the file. What Python would still flush must go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # as if SIGPIPE had ended us
    except OSError as error:
        where = error.filename or file or "the GGUF file"
        other = ", or choose another place with -o" if progress.phase in _WRITING else ""
        return _fail(progress, f"{where}: {error.strerror or error}. Check the disk{other}.", 1)
    except Interrupted as end:
        removed = "; the unfinished file was removed" if progress.phase in _WRITING else ""
        return _fail(progress, f"stopped{removed}.", 128 + end.number)
    return 0


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    for more in (signal.SIGINT, signal.SIGTERM):  # a second one must not end the cleaning up
        signal.signal(more, signal.SIG_IGN)
    raise Interrupted(number)


def _fail(progress: Progress, message: str, code: int) -> int:
    progress.clear()
    print(f"inglenook-convert: {message}", file=sys.stderr)  # noqa: T201  # the command's one line of error
    return code


if __name__ == "__main__":
    multiprocessing.freeze_support()  # of a frozen build, the processes that make pieces begin here too
    sys.exit(main())
