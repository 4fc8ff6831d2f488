"""Whether the machine runs on its battery."""

from __future__ import annotations


def on_battery() -> bool:
    """False where there is none, or the system does not tell."""
    import psutil  # late: the first paint does not need it

    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):  # systems without the means, containers
        return False
    return bool(battery is not None and battery.power_plugged is False)
