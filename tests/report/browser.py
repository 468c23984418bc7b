"""Pages in a real browser: what it makes of them, whether they fit, whether texts lie on each other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROBE = """<script>
const boxes = svg => [...svg.querySelectorAll("text")].map(text => text.getBoundingClientRect());
const touch = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3;
const pairs = list => list.flatMap((a, i) => list.slice(i + 1).map(b => [a, b]));
addEventListener("load", () => {
  const charts = [...document.querySelectorAll(".chart")];
  document.body.dataset.wide = document.documentElement.scrollWidth - innerWidth;
  document.body.dataset.touching = charts.flatMap(svg => pairs(boxes(svg)).filter(([a, b]) => touch(a, b))).length;
});
</script>"""


def dumped(page: Path, profile: Path, width: int = 1280) -> tuple[str, str]:
    """The document as the browser has it, and what it printed on the console; skips where there is no browser."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on the PATH")
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"]
    switches += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    switches += ["--enable-logging=stderr", f"--user-data-dir={profile}", f"--window-size={width},900"]
    done = subprocess.run([chromium, *switches, page.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def probed(html: str, folder: Path, width: int) -> tuple[int, int]:
    """By how many pixels the page is wider than the window, and how many pairs of texts of a chart overlap."""
    page = folder / "probed.html"
    page.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', PROBE, html), encoding="utf-8")
    document, _ = dumped(page, folder / "profile", width)
    found = dict(re.findall(r'data-(wide|touching)="(-?\d+)"', document))
    return max(int(found["wide"]), 0), int(found["touching"])
