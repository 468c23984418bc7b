"""A worker process: `python -m edgekit.search.worker`, told what to do on standard input; see `edgekit.search.crew`."""

from __future__ import annotations

import os
import sys
import threading
from typing import IO

import msgspec

from edgekit.errors import EdgekitError
from edgekit.search.crew import Begin, Word
from edgekit.search.run import attend
from edgekit.talk import Line


def main() -> None:
    """Do trials until there are none left; an error of edgekit's is told and ends the worker."""
    pipe = _reserved_output()
    begin = msgspec.json.decode(sys.stdin.buffer.readline(), type=Begin)
    threading.Thread(target=_end_with_input, daemon=True).start()

    def tell(word: Word) -> None:
        pipe.write(msgspec.json.encode(word) + b"\n")
        pipe.flush()

    try:
        attend(begin.order, begin.number, lambda text: tell(Word(str(text), isinstance(text, Line))))
    except EdgekitError as fault:
        tell(Word(fault.problem, error=type(fault).__name__, mend=fault.mend))


def _end_with_input() -> None:
    """End at once when standard input closes, as it does when the parent dies."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _reserved_output() -> IO[bytes]:
    """The pipe to the parent; what libraries print goes to standard error from now on."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


if __name__ == "__main__":
    main()
