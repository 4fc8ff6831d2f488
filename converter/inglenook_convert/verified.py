"""What a verification found, for people and for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, sqrt
from pathlib import Path

from inglenook_convert.gguf_format import TensorType


@dataclass(frozen=True, slots=True)
class TensorResult:
    """One tensor that is as it should be: sums of the squares of its errors and of the checkpoint's values."""

    name: str
    kind: TensorType
    error: float
    norm: float

    @property
    def relative(self) -> float:
        """Relative RMSE; 0 if every value is the checkpoint's."""
        return _relative([self])


@dataclass(frozen=True, slots=True)
class Verified:
    """The files of one model with their SHA-256, their size together in bytes, and all their tensors.

    `same_header`: the metadata, too, is what this converter makes of the checkpoint.
    """

    files: tuple[Path, ...]
    digests: tuple[str, ...]
    nbytes: int
    tensors: tuple[TensorResult, ...]
    same_header: bool

    def text(self) -> str:
        """Some lines."""
        lines = [f"{len(self.tensors)} tensors verified, {self.nbytes / 1e6:,.1f} MB"]
        for kind in self._kinds():
            same = [tensor for tensor in self.tensors if tensor.kind is kind]
            worst = max(same, key=lambda tensor: tensor.relative)
            what = f"relative RMSE {_relative(same):.3g}, at most {worst.relative:.3g} ({worst.name})"
            lines.append(f"  {kind.name:<6}{len(same):>5} tensors  {what if worst.relative else 'exact'}")
        if not self.same_header:
            lines.append("  metadata      differs from what this converter writes")
        return "\n".join(
            lines + [f"sha256 {digest}  {file}" for file, digest in zip(self.files, self.digests, strict=True)]
        )

    def values(self) -> dict[str, object]:
        """The same and every tensor's error, as JSON has it."""
        return {
            "bytes": self.nbytes,
            "sha256": {str(file): digest for file, digest in zip(self.files, self.digests, strict=True)},
            "same_header": self.same_header,
            "tensors": [
                {"name": tensor.name, "type": tensor.kind.name, "relative_rmse": tensor.relative}
                for tensor in self.tensors
            ],
        }

    def _kinds(self) -> list[TensorType]:
        return list({tensor.kind.code: tensor.kind for tensor in self.tensors}.values())


def _relative(tensors: Iterable[TensorResult]) -> float:
    found = list(tensors)
    error, norm = sum(tensor.error for tensor in found), sum(tensor.norm for tensor in found)
    return sqrt(error / norm) if norm else inf if error else 0.0
