"""The completion script in a real bash: commands, options, names of targets, files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("opti", "optimize"),
        ("optimize --max", "--max-drop"),
        ("optimize m.keras -t raspberry-pi-z", "raspberry-pi-zero-2-w"),
        ("optimize m.keras -r dyn", "dynamic-int8"),
        ("targets show corte", "cortex-m4 cortex-m55 cortex-m7"),
        ("check m.tflite --target esp", "esp32 esp32-s3"),
    ],
)
def test_bash_offers(words: str, offered: str, tmp_path: Path) -> None:
    assert _completed(words, tmp_path) == offered


@pytest.mark.parametrize("words", ["optimize mod", "optimize m.keras --data dat", "evaluate mod", "check mod"])
def test_bash_falls_back_to_files(words: str, tmp_path: Path) -> None:
    assert _completed(words, tmp_path) == "FILES"


def _completed(words: str, folder: Path) -> str:
    """What bash would offer after these words; FILES where it is told to complete paths."""
    entry = f"#!{sys.executable}\nfrom edgekit.cli import main\nmain()\n"  # as pip writes it
    (folder / "edgekit").write_text(entry)
    (folder / "edgekit").chmod(0o755)
    script = f"""
        PATH="{folder}:$PATH"
        eval "$(edgekit completion bash)" 2>/dev/null
        compopt() {{ files=FILES; }}
        COMP_WORDS=(edgekit {words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _edgekit_completion edgekit
        echo ${{files:-${{COMPREPLY[*]}}}}
    """
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.strip()
