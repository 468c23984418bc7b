"""The option `--device`: an address, or a name of the devices file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click import Context, Parameter
from click.shell_completion import CompletionItem

from edgekit.cli.common import progress
from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit.bench.plan import RuntimeName
    from edgekit.device.protocol import Device

F = TypeVar("F", bound=Callable[..., Any])

_HELP = "local, ssh://user@host[:port], adb://SERIAL, or a name of your devices file"


def device_option(multiple: bool = False) -> Callable[[F], F]:
    """`--device`, once (default: this machine) or several times."""
    if multiple:
        help_text = f"{_HELP}; several are measured at once.  [default: local]"
        return click.option("--device", multiple=True, shell_complete=names, help=help_text)
    return click.option("--device", default="local", show_default=True, shell_complete=names, help=f"{_HELP}.")


@contextmanager
def opened(address: str, runtime: RuntimeName) -> Iterator[Device | None]:
    """The device behind an address, open; None for this machine."""
    from edgekit.device.find import find_device

    if address == "local":
        yield None
        return
    with find_device(address, runtime, progress, native=False) as place:
        yield place


def names(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the devices file, for a shell."""
    from edgekit.device.devices_file import load_devices

    try:
        known = ["local", *load_devices()]
    except EdgekitError:
        known = ["local"]
    return [CompletionItem(name) for name in known if name.startswith(incomplete)]


def unique(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses, if none is given twice."""
    twice = sorted({address for address in addresses if addresses.count(address) > 1})
    if twice:
        raise click.UsageError(f"--device {twice[0]} is given twice")
    return addresses
