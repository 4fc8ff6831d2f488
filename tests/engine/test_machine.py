from __future__ import annotations

import psutil

from inglenook.engine import machine


def test_threads():
    assert 1 <= machine.threads() <= psutil.cpu_count()


def test_main_memory():
    available, total = machine.main_memory()
    assert 0 < available < total == psutil.virtual_memory().total
