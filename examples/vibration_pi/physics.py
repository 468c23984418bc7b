"""A machine that was never built: what an accelerometer on a bearing gives, from the physics, with faults of any depth.

There is no recording in this example. A point defect strikes once for each ball (or each half turn of a ball) that
passes it; each blow rings the housing, which decays; load and slip vary it (McFadden and Smith 1984,
doi:10.1016/0022-460X(84)90595-9; Randall and Antoni 2011, doi:10.1016/j.ymssp.2010.07.017). Sound bearings turn a bit
unbalanced, hum and rustle, at speeds and loads that change from window to window. Real machines do worse things: take
your own recordings for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from spectrum import RATE, WINDOW

Array = np.ndarray[Any, Any]
BALLS, BALL_MM, PITCH_MM = 9, 7.94, 39.04
"""A 6205 deep-groove ball bearing, contact angle 0."""
RING_HZ, DAMPING = 3200.0, 0.04
FAULTS = ("outer race", "inner race", "ball")


def defect_hertz(shaft: float) -> dict[str, float]:
    """How often a defect of each part is struck, at `shaft` turns a second (Randall and Antoni 2011)."""
    ratio = BALL_MM / PITCH_MM
    return {
        "outer race": shaft * BALLS / 2 * (1 - ratio),
        "inner race": shaft * BALLS / 2 * (1 + ratio),
        "ball": shaft / ratio * (1 - ratio**2),
    }


def vibration(random: np.random.Generator, fault: str = "", depth: float = 0.0, samples: int = WINDOW) -> Array:
    """Acceleration in g, float64 `[samples]`: a machine at some speed and load, with a fault of `depth` 0 to 1."""
    shaft, load = random.uniform(24, 30), random.uniform(0.5, 1.0)
    time = np.arange(samples) / RATE
    noise = random.normal(0, 0.12 * random.lognormal(0, 0.2), samples)
    rustle = _rung(random.normal(0, 0.02 * load, samples))
    return _turning(random, shaft, load, time) + noise + rustle + depth * _struck(random, fault, shaft, load, time)


def _turning(random: np.random.Generator, shaft: float, load: float, time: Array) -> Array:
    """Harmonics of the shaft, and of a fan with seven blades."""
    orders = np.array([1, 2, 3, 4, 7, 14, 21])
    size = load * np.array([0.5, 0.25, 0.12, 0.06, 0.2, 0.1, 0.05]) * random.lognormal(0, 0.2, len(orders))
    phase = random.uniform(0, 2 * np.pi, len(orders))
    waves: Array = size @ np.sin(2 * np.pi * shaft * orders[:, None] * time + phase[:, None])
    return waves


def _struck(random: np.random.Generator, fault: str, shaft: float, load: float, time: Array) -> Array:
    """Blows 1 % apart from even, on the inner race as strong as the load where it is; and the housing that rings."""
    blows = np.zeros(len(time))
    if fault:
        every = 1 / defect_hertz(shaft)[fault]
        steps = every * (1 + random.normal(0, 0.01, int(time[-1] / every) + 2))
        at = np.cumsum(steps) - every * random.uniform()
        at = at[at < time[-1]]
        turning = {"outer race": 0.0, "inner race": shaft, "ball": shaft * (1 - BALL_MM / PITCH_MM) / 2}[fault]
        strength = load * (1 + 0.8 * np.cos(2 * np.pi * turning * at + random.uniform(0, 2 * np.pi)))
        np.add.at(blows, (at * RATE).astype(int), strength * random.lognormal(0, 0.2, len(at)))
    return _rung(blows)


def _rung(force: Array) -> Array:
    """What the housing makes of a force: a decaying wave after each blow."""
    time = np.arange(256) / RATE
    wave = np.exp(-DAMPING * 2 * np.pi * RING_HZ * time) * np.sin(2 * np.pi * RING_HZ * time)
    return np.convolve(force, wave)[: len(force)]
