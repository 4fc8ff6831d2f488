from math import inf, sqrt
from pathlib import Path

import pytest

from inglenook_convert import gguf_format as gguf
from inglenook_convert.verified import TensorResult, Verified

TENSORS = (
    TensorResult("a", gguf.Q8_0, 1.0, 100.0),
    TensorResult("b", gguf.F32, 0.0, 5.0),
    TensorResult("c", gguf.Q8_0, 8.0, 200.0),
    TensorResult("zeros", gguf.F32, 0.0, 0.0),
)


def test_relative_errors() -> None:
    assert [tensor.relative for tensor in TENSORS] == [0.1, 0.0, pytest.approx(0.2), 0.0]
    assert TensorResult("lost", gguf.F16, 1.0, 0.0).relative == inf


def test_a_type_is_told_with_its_worst_tensor() -> None:
    found = Verified((Path("x.gguf"), Path("y.gguf")), ("12ab", "34cd"), 3_000_000, TENSORS, True)
    assert found.text().splitlines() == [
        "4 tensors verified, 3.0 MB",
        f"  Q8_0      2 tensors  relative RMSE {sqrt(9 / 300):.3g}, at most 0.2 (c)",
        "  F32       2 tensors  exact",
        "sha256 12ab  x.gguf",
        "sha256 34cd  y.gguf",
    ]
    assert found.values()["sha256"] == {"x.gguf": "12ab", "y.gguf": "34cd"}
    assert found.values()["tensors"][1] == {"name": "b", "type": "F32", "relative_rmse": 0.0}


def test_other_metadata_are_told() -> None:
    assert "metadata      differs" in Verified((), (), 0, (), False).text()
