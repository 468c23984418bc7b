"""`edgekit keygen`: a pair of keys, to sign packages with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from msgspec import Struct

from edgekit.cli.common import emit, json_option, say
from edgekit.errors import OutputError


class Keys(Struct, frozen=True):
    """What the command prints: where the keys are, and the public one."""

    secret: Path
    public: Path
    key: str


@click.command("keygen")
@click.argument("name", type=click.Path(path_type=Path))
@click.option("--no-passphrase", "bare", is_flag=True, help="Leave the secret key unprotected.")
@json_option
def command(name: Path, bare: bool, as_json: bool) -> None:
    """Make NAME.key, which signs packages and stays with you, and NAME.pub, which everyone may have.

    \b
    edgekit keygen release
    edgekit package model.tflite --for linux -o OUT --sign release.key
    edgekit verify OUT --key release.pub

    They are keys of minisign, whose `minisign -G` makes them as well. The passphrase is asked for, or taken from the
    environment variable EDGEKIT_KEY_PASSPHRASE.
    """
    from edgekit.package.signature import new_key

    if name.name in ("", ".."):
        raise OutputError(f"{name}: a folder, and no name of keys", "give a name, such as release")
    secret, public = name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub")
    line = new_key(secret, public, None if bare else _new_passphrase())
    say(f"keep {secret} to yourself; give {public} to everyone")
    emit(Keys(secret, public, line), as_json, lambda keys: keys.key)


def _new_passphrase() -> str:
    from edgekit.package.signature import PASSPHRASE

    if found := os.environ.get(PASSPHRASE):
        return found
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody is here to type a passphrase: set {PASSPHRASE}, or give --no-passphrase")
    return str(click.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True))
