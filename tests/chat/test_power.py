"""On battery or not, from a folder as Linux has it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from inglenook.chat import power

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil asks the system")

BATTERY = {"type": "Battery", "status": "Discharging", "scope": "System"}
MAINS = {"type": "Mains", "online": "1"}
MOUSE = {"type": "Battery", "status": "Discharging", "scope": "Device"}


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, False),
        ({"BAT0": BATTERY}, True),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}}, True),  # older systems tell no scope
        ({"BAT1": BATTERY, "ADP1": {**MAINS, "online": "0"}}, True),
        ({"BAT0": BATTERY, "ADP1": MAINS}, False),  # more is drawn than the adapter gives
        ({"BAT0": BATTERY, "ucsi-source-psy-1": {"type": "USB", "online": "1"}}, False),
        ({"BAT0": {**BATTERY, "status": "Charging"}}, False),
        ({"BAT0": {**BATTERY, "status": "Not charging"}}, False),
        ({"BAT0": {**BATTERY, "status": "Full"}, "BAT1": BATTERY}, True),
        ({"hidpp_battery_0": MOUSE}, False),
        ({"hidpp_battery_0": MOUSE, "BAT0": BATTERY}, True),
        ({"BAT0": {}}, False),
    ],
)
def test_on_battery(
    supplies: dict[str, dict[str, str]], expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, files in supplies.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text + "\n")
    monkeypatch.setattr(power, "SUPPLIES", tmp_path)
    assert power.on_battery() is expected


def test_a_machine_without_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(power, "SUPPLIES", tmp_path / "none")
    assert power.on_battery() is False
