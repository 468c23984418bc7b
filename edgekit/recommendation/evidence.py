"""What was measured of each technique on other networks, in words; a test holds each number against the tables.

Accuracy is the drop of the int8 file in points of top-1, mean of three seeds, on DS-CNN, MobileNetV2 0.35 and ResNet-8
with Fashion-MNIST and spoken digits (`benchmarks/results/compression.md`; latency from `compression_speed.md` and
`int8_speed.md`, all on the x86-64 build host).
"""

from __future__ import annotations

_SIX = "on three small networks and two tasks the int8 file"

EVIDENCE: dict[str, str] = {
    "int8": f"{_SIX} lost -0.08 to +0.44 points; by XNNPACK on x86-64 13 networks ran 1.93 to 3.72 times faster",
    "channels": f"at half the MACs {_SIX} lost -0.29 to +0.66 points, and three networks ran 1.39 to 1.71 times faster",
    "prune": f"at 80 % zeros {_SIX} lost -0.81 to +0.42 points; dense / sparse latency was 0.99 to 1.00",
    "cluster": f"with 16 values {_SIX} lost -0.26 to +0.33 points",
    "student": f"distilled at 26 to 36 % of the MACs {_SIX} lost -0.07 to +3.33 points",
    "qat": f"{_SIX} lost -0.33 to +0.44 points, without it -0.08 to +0.44",
}
