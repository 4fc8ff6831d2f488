"""The command `inglenook-convert SOURCE -o FILE.gguf`: a gpt-oss checkpoint to one GGUF file.

Exit codes: 0, or 2 with one line on stderr when the input or the command is wrong, 1 when the disk fails, 130 and 143
after SIGINT and SIGTERM, 141 when nobody reads the progress any more. What is unfinished is removed in all these cases.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path
from types import FrameType
from typing import NoReturn

from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.errors import ConvertError
from inglenook_convert.metadata import make_metadata, model_name
from inglenook_convert.plan import make_plan
from inglenook_convert.progress import Progress, make_progress


class Interrupted(BaseException):
    """A signal asked us to end. Not an `Exception`, so that nothing on the way takes it for an error."""

    def __init__(self, number: int) -> None:
        self.number = number


def convert(source: Path, target: Path | None, progress: Progress) -> Path:
    """Converts the checkpoint folder `source`; the file written. `target` None is a name of the model's, here.

    Raises `ConvertError` or `OSError`; then `target` is as it was.
    """
    progress.report("plan", "", 0)
    checkpoint = open_checkpoint(source)
    config = parse_config(checkpoint.config)
    plan = make_plan(checkpoint, config)
    if target is None:
        target = Path.cwd() / f"{model_name(checkpoint, config).replace(' ', '-')}-MXFP4.gguf"
    parameters = sum(prod(tensor.info.shape) for tensor in plan.tensors)
    header = plan.header(make_metadata(checkpoint, config, parameters))
    progress.total = len(header) + plan.data_bytes
    from inglenook_convert.write import write_file  # numpy: not needed to refuse a wrong command

    write_file(target, header, plan, progress.report)
    progress.finish(str(target))
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser("inglenook-convert", description="Converts a gpt-oss checkpoint to GGUF.")
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder with config.json and safetensors files")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the GGUF file (default: NAME-MXFP4.gguf here)"
    )
    parser.add_argument("--progress", choices=("text", "json"), default="text", help="json: one object a line")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    progress = make_progress(options.progress)
    try:
        convert(options.source, options.output, progress)
    except ConvertError as error:
        return _fail(progress, str(error), 2)
    except BrokenPipeError:
        # Our reader is gone, and so is whoever wanted the file. What Python would still flush must go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # as if SIGPIPE had ended us
    except OSError as error:
        where = error.filename or options.output or "the GGUF file"
        return _fail(
            progress, f"{where}: {error.strerror or error}. Check the disk, or choose another place with -o.", 1
        )
    except Interrupted as end:
        return _fail(progress, "stopped; the unfinished file was removed.", 128 + end.number)
    return 0


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _fail(progress: Progress, message: str, code: int) -> int:
    progress.clear()
    print(f"inglenook-convert: {message}", file=sys.stderr)  # noqa: T201  # the command's one line of error
    return code


if __name__ == "__main__":
    sys.exit(main())
