"""Whether a Coral Edge TPU is plugged in, by what the kernel lists in /sys and /dev.

USB: it begins as 1a6e:089a and becomes 18d1:9302 when libedgetpu has given it its program (edgetpu-accelerator.rules of
github.com/google-coral/libedgetpu). PCIe: 1ac1:089a, and /dev/apex_N with its driver (drivers/staging/gasket of Linux).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LIBRARY = "libedgetpu.so.1"
_USB = {("1a6e", "089a"), ("18d1", "9302")}
_PCI = ("0x1ac1", "0x089a")


@dataclass(frozen=True)
class Found:
    """`usable` if there is a device that can be opened; `words` say which, or why there is none."""

    usable: bool
    words: str


def find(root: Path = Path("/")) -> Found:
    """Look for one; PCIe first, as libedgetpu does."""
    apex = sorted(path.name for path in root.glob("dev/apex_*"))
    if apex:
        return Found(True, f"a Coral on PCIe, /dev/{apex[0]}")
    usb = [path.name for path in _devices(root, "usb") if _words(path, "idVendor", "idProduct") in _USB]
    if usb:
        return Found(True, f"a Coral on USB, {usb[0]}")
    pci = [path.name for path in _devices(root, "pci") if _words(path, "vendor", "device") == _PCI]
    if pci:
        return Found(False, f"the Coral on PCIe, {pci[0]}, has no driver: install gasket-dkms")
    return Found(False, "no Coral on USB or PCIe")


def _devices(root: Path, bus: str) -> list[Path]:
    return sorted(root.glob(f"sys/bus/{bus}/devices/*"))


def _words(device: Path, *names: str) -> tuple[str, ...]:
    return tuple(_word(device / name) for name in names)


def _word(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
