"""The demo model that ships with the program: where its checkpoint is, and the GGUF file made from it on first use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import inglenook_convert
from inglenook.core.paths import resources
from inglenook.library.making.conversion import convert


def demo_checkpoint() -> Path:
    """The folder of the demo checkpoint (safetensors)."""
    return resources() / "demo-model"


def ensure_demo(cache: Path, progress: Callable[[float], None], cancelled: Callable[[], bool]) -> Path:
    """The demo model as GGUF below `cache`, converted if it is not there yet (about a second).

    The name carries a hash of the checkpoint and the converter, so that an update of either makes a new file; files of
    earlier ones are removed. Raises as `conversion.convert` does.
    """
    source = demo_checkpoint()
    folder = cache / "demo-model"
    target = folder / f"inglenook-demo-{_fingerprint(source)}.gguf"
    if not target.exists():
        convert(source, target, progress, cancelled)
        for old in folder.glob("inglenook-demo-*.gguf"):
            if old != target:
                old.unlink(missing_ok=True)
    return target


def _fingerprint(source: Path) -> str:
    """Twelve hexadecimal digits over all files of the checkpoint and the converter's modules (some 8 MB: 10 ms)."""
    digest = hashlib.sha256()
    converter = Path(inglenook_convert.__file__).parent
    for file in [*sorted(source.iterdir()), *sorted(converter.rglob("*.py"))]:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
