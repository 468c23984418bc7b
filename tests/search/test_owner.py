"""Whether the process that tries a recipe is still there, with Linux's /proc and without it, as on macOS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.search import owner as module
from edgekit.search.owner import dead, owner


@pytest.mark.parametrize("proc", ["/proc", "/no/proc"])
def test_a_process_is_dead_when_it_has_ended_whether_or_not_anybody_asked(
    proc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROC", Path(proc))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: child.pid)
            its = owner()
        assert its != owner()
        assert not dead(its)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and nobody has asked how
        assert dead(its)
    assert dead(its)
    assert not dead(owner())
