"""`python3 -m NAME`: an older Python is told so before it reads what it cannot."""

import signal
import sys

if sys.version_info < (3, 9):
    sys.exit("%s needs Python 3.9 or newer, this is %s" % (__package__, sys.version.split()[0]))

from .cli import main

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # runtimes swallow what Python makes of it
    sys.exit(main(sys.argv[1:]))
