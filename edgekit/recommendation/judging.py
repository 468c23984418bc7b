"""What a technique saves beside its reference, and whether that pays on a target: two thresholds and one order."""

from __future__ import annotations

from edgekit.recommendation.technique import Latency, Resource, Size, Verdict
from edgekit.target import Target

MUCH, LITTLE = 0.25, 0.05
"""Shares saved from which a technique pays, and pays a little."""
_LOWER: dict[Verdict, Verdict] = {"pays": "pays-little", "pays-little": "does-not-pay"}
_NAMES: dict[Resource, str] = {
    "file": "the file",
    "download": "the compressed file",
    "ram": "the memory for tensors",
    "latency": "the latency",
}


def saved(before: Size, after: Size, time_before: Latency, time_after: Latency) -> dict[Resource, float]:
    """Shares saved of everything that is known of both; latencies are compared where they are of one kind.

    Nothing is saved of a measured latency whose interval meets that of the other.
    """
    pairs: dict[Resource, tuple[float | None, float | None]] = {
        "file": (before.file_bytes, after.file_bytes),
        "download": (before.download_bytes, after.download_bytes),
        "ram": (before.ram_bytes, after.ram_bytes),
    }
    if time_before.kind == time_after.kind:
        pairs["latency"] = (time_before.seconds, time_after.seconds)
    found = {name: 1 - new / old for name, (old, new) in pairs.items() if old and new is not None}
    return found | ({"latency": 0.0} if "latency" in found and _alike(time_before, time_after) else {})


def _alike(one: Latency, other: Latency) -> bool:
    """Whether two measured latencies cannot be told apart; estimates by the same figures can."""
    if one.kind != "measured" or None in (one.low, one.high, other.low, other.high):
        return False
    return max(one.low or 0.0, other.low or 0.0) <= min(one.high or 0.0, other.high or 0.0)


def matters(target: Target) -> tuple[Resource, ...]:
    """What is scarce on a target: memory on a microcontroller; the compressed file where a store delivers it."""
    found: list[Resource] = ["file", "latency"]
    found += ["ram"] if target.memory.flash_bytes is not None else []
    found += ["download"] if target.family == "android" else []
    return tuple(found)


def verdict(saves: dict[Resource, float], target: Target) -> Verdict:
    """By the greatest share of what matters; slower is worth a step less, and more than twice as slow never pays."""
    best = max((saves.get(name, 0.0) for name in matters(target)), default=0.0)
    found: Verdict = "pays" if best >= MUCH else "pays-little" if best >= LITTLE else "does-not-pay"
    slower = -saves.get("latency", 0.0)
    return "does-not-pay" if slower > 1 else lowered(found) if slower > LITTLE else found


def lowered(found: Verdict) -> Verdict:
    """The verdict a step lower, down to what does not pay."""
    return _LOWER.get(found, found)


def reason(saves: dict[Resource, float], before: Size, after: Size, latency: Latency, target: Target) -> str:
    """The verdict's reason in words."""
    known = {name: saves[name] for name in matters(target) if name in saves}
    gains = [_words(name, share, latency) for name, share in known.items() if share >= LITTLE]
    losses = [_words(name, share, latency) for name, share in known.items() if share <= -LITTLE]
    parts = [f"saves {', '.join(gains)}"] if gains else ["saves nothing that is scarce on this target"]
    parts += [f"takes {', '.join(losses)}"] if losses else []
    if "download" not in known and (less := saves.get("download", 0.0)) >= LITTLE and not gains:
        parts.append(f"only a compressed copy (.zip, update) gets {less:.0%} smaller")
    if latency.kind == "unknown":
        less = 1 - after.macs / before.macs if before.macs else 0.0
        parts.append(f"its latency is unknown{f', it has {less:.0%} fewer MACs' if less >= LITTLE else ''}")
    return "; ".join(parts)


def _words(name: Resource, share: float, latency: Latency) -> str:
    amount = f"{share:.0%} of" if share > 0 else f"{1 - share:.2f} times"
    how = {"measured": " (measured, untrained)", "estimate": " (estimate)"}.get(latency.kind, "")
    return f"{amount} {_NAMES[name]}{how if name == 'latency' else ''}"
