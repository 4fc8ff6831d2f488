"""What the command does, put together: a conversion, a dry run of it, the verification of a file.

numpy is imported late: a wrong command or checkpoint is refused without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from inglenook_convert.checkpoint import Checkpoint, open_checkpoint
from inglenook_convert.config import Config, parse_config
from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import KeyValue, TensorType
from inglenook_convert.metadata import make_metadata, model_name
from inglenook_convert.plan import Plan, make_plan
from inglenook_convert.progress import Progress
from inglenook_convert.reader import ReadAhead
from inglenook_convert.split import OutputFile, output_files, parts_of
from inglenook_convert.tensor_types import DEFAULT, Types
from inglenook_convert.verified import Verified


@dataclass(frozen=True, slots=True)
class Job:
    """A checkpoint and what becomes of it."""

    checkpoint: Checkpoint
    config: Config
    plan: Plan

    def metadata(self) -> list[KeyValue]:
        """What the file says of the model."""
        parameters = sum(prod(tensor.info.shape) for tensor in self.plan.tensors)
        return make_metadata(self.checkpoint, self.config, parameters, self._experts)

    def files(self, target: Path | None, max_bytes: int | None) -> list[OutputFile]:
        """What is written. `target` None is a name of the model's, here; files have at most `max_bytes`."""
        if target is None:
            name = model_name(self.checkpoint, self.config).replace(" ", "-")
            target = Path.cwd() / f"{name}-{self._experts.name}.gguf"
        return output_files(target, self.plan, self.metadata(), max_bytes)

    @property
    def _experts(self) -> TensorType:
        """Their type."""
        return next(tensor.kind for tensor in self.plan.tensors if tensor.info.name == "blk.0.ffn_gate_exps.weight")


def convert(
    source: Path,
    target: Path | None,
    progress: Progress,
    types: Types = DEFAULT,
    *,
    base: Path | None = None,
    max_bytes: int | None = None,
    check: bool = False,
) -> Path:
    """Converts the checkpoint folder `source`; the (first) file written. `target` None is a name of the model's, here.

    `base` is the model of a LoRA adapter; files have at most `max_bytes` each; `check` has them read and verified
    after that. Raises `ConvertError` or `OSError`; if it comes of the conversion, then `target` is as it was.
    """
    job = _planned(source, base, types, progress)
    from inglenook_convert.processes import produced
    from inglenook_convert.write import MEMORY, write_files

    # To read the tokenizer takes a second: other processes and the disk begin with the tensors meanwhile.
    with produced(job.plan.tensors, MEMORY) as made:
        with ReadAhead(stored for tensor in job.plan.tensors for stored in tensor.source.stored):
            files = job.files(target, max_bytes)
        progress.total = total = sum(file.nbytes for file in files)
        write_files([(file.target, file.header, file.plan) for file in files], made, progress.report)
    first = files[0].target
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    seconds = progress.seconds()
    rate = total / 1e6 / max(seconds, 1e-9)
    text = f"{first}{more}: {total / 1e6:,.1f} MB in {seconds:.1f} s ({rate:.0f} MB/s), {types}"
    names = [str(file.target) for file in files]
    size = {"bytes": total, "bytes_done": total, "bytes_total": total}
    values: dict[str, object] = {"phase": "done", "file": str(first), "files": names, **size, "types": types.names()}
    if check:
        verified = _verified([file.target for file in files], job, progress)
        if not verified.same_header:
            raise ConvertError(f"{first}: the metadata is not as it was written. Check the disk.")
        text += f"\n{verified.text()}"
        values["verified"] = verified.values()
    progress.result(text, values)
    return first


def dry_run(
    source: Path,
    target: Path | None,
    progress: Progress,
    types: Types = DEFAULT,
    *,
    base: Path | None = None,
    max_bytes: int | None = None,
) -> None:
    """Tells what `convert` would write, with the disk that it needs and a guess of the time. See there."""
    job = _planned(source, base, types, progress)
    files = job.files(target, max_bytes)
    from inglenook_convert.report import make_report

    progress.report("measure", "", 0)
    report = make_report(job.checkpoint, job.config, types, job.plan, files)
    progress.result(report.text(), report.values())


def verify(gguf: Path, source: Path, base: Path | None, progress: Progress) -> None:
    """Compares the file or set `gguf` with the checkpoint `source`. Raises `ConvertError` that names a wrong tensor."""
    progress.report("plan", "", 0)
    files = parts_of(gguf)
    from inglenook_convert.verify import read_summaries, with_types_of

    summaries = read_summaries(files)
    checkpoint = open_checkpoint(source, base)
    config = parse_config(checkpoint.config)
    plan = with_types_of(make_plan(checkpoint, config), summaries)
    verified = _verified(files, Job(checkpoint, config, plan), progress)
    progress.result(verified.text(), {"phase": "done", "file": str(gguf), **verified.values()})


def _verified(files: Sequence[Path], job: Job, progress: Progress) -> Verified:
    from inglenook_convert.verify import read_summaries, verify_files

    summaries = read_summaries(files)
    progress.total = sum(summary.file_bytes for summary in summaries)
    return verify_files(files, summaries, job.plan, job.metadata(), progress.report)


def _planned(source: Path, base: Path | None, types: Types, progress: Progress) -> Job:
    progress.report("plan", "", 0)
    checkpoint = open_checkpoint(source, base)
    config = parse_config(checkpoint.config)
    return Job(checkpoint, config, make_plan(checkpoint, config, types))
