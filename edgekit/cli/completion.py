"""`edgekit completion`: the script that a shell needs to complete commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion", short_help="Print the completion script for bash, zsh or fish.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  edgekit completion bash >> ~/.bashrc
    zsh:   edgekit completion zsh >> ~/.zshrc
    fish:  edgekit completion fish > ~/.config/fish/completions/edgekit.fish
    """
    from edgekit.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None  # the choice above names only known shells
    click.echo(kind(cli, {}, "edgekit", "_EDGEKIT_COMPLETE").source())
