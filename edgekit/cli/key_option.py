"""The option `--sign`, and the passphrase of a secret key: from the environment, or asked for on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

sign_option = click.option(
    "--sign",
    "key",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Sign the manifest with this secret key (minisign, or `edgekit keygen`).",
)


def passphrase() -> Callable[[], str] | None:
    """A question to whoever sits at the terminal; None where nobody does."""
    return _asked if sys.stdin.isatty() else None


def _asked() -> str:
    return str(click.prompt("passphrase of the key", hide_input=True, err=True))
