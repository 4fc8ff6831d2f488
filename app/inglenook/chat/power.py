"""Whether the machine runs on its battery."""

from __future__ import annotations

import sys
from pathlib import Path

SUPPLIES = Path("/sys/class/power_supply")


def on_battery() -> bool:
    """False where there is none, or the system does not tell."""
    if sys.platform == "linux":
        return _discharges(SUPPLIES)
    import psutil  # late: the first paint does not need it

    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):  # systems without the means, containers
        return False
    return bool(battery is not None and battery.power_plugged is False)


def _discharges(folder: Path) -> bool:
    """A battery of the machine gives power and no adapter does. That of a mouse is none of the machine."""
    is_discharging = False
    try:
        for supply in folder.iterdir():
            if _read(supply / "type") != "Battery":
                if _read(supply / "online") == "1":
                    return False
            elif _read(supply / "scope") != "Device" and _read(supply / "status") == "Discharging":
                is_discharging = True
    except OSError:
        return False
    return is_discharging


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace").strip()
    except OSError:
        return ""
