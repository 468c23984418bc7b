"""`edgekit devices`: list the user's devices, and see what one is."""

from __future__ import annotations

import click
import msgspec
from msgspec import Struct

from edgekit import strict_toml
from edgekit.bench.describe import Description, describe
from edgekit.bench.disturbances import throttle_flags
from edgekit.cli.common import emit, json_option, progress, say
from edgekit.cli.device_option import names
from edgekit.device.devices_file import Entry, devices_path, load_devices
from edgekit.device.find import find_device
from edgekit.report.table import render_table
from edgekit.units import format_bytes, format_count


class Checked(Struct, frozen=True):
    """What `edgekit devices check --json` prints."""

    device: str
    description: Description
    format_version: int = 1


@click.group("devices", invoke_without_command=True, short_help="List your devices, and see what they are.")
@click.pass_context
def command(context: click.Context) -> None:
    """Your devices: the names that `--device` takes beside addresses. Without a subcommand: the list.

    \b
    They are tables of ~/.config/edgekit/devices.toml (or of the file that EDGEKIT_DEVICES names):
      [pi4]
      address = "ssh://pi@raspberrypi.local"
    """
    if context.invoked_subcommand is None:
        context.invoke(list_command)


@command.command("list", short_help="The devices of your file.")
@json_option
def list_command(as_json: bool = False) -> None:
    """The devices of your file, one a line."""
    entries = load_devices()
    emit(entries, as_json, _render_list)
    if not entries:
        say(f"no devices in {devices_path()}; `edgekit devices --help` shows what to write there")


@command.command("check", short_help="Connect to a device and say what it is.")
@click.argument("name", shell_complete=names)
@json_option
def check_command(name: str, as_json: bool) -> None:
    """Connect to NAME (or an address) and say what it is, its runtimes and its present state.

    A runtime is installed into the cache folder of the device if it has none.
    """
    with find_device(name, say=progress, native=False) as device:
        found = Checked(device.name, describe(device))
    progress("")
    emit(found, as_json, _render_check)


@command.command("schema", short_help="JSON schema of the devices file, for editors.")
def schema_command() -> None:
    """JSON schema of the devices file; editors complete and check with it."""
    click.echo(msgspec.json.format(msgspec.json.encode(strict_toml.json_schema(dict[str, Entry])), indent=2).decode())


def _render_list(entries: dict[str, Entry]) -> str:
    rows = [(name, entry.address, entry.python, entry.runtime) for name, entry in sorted(entries.items())]
    return render_table(("device", "address", "python", "runtime"), rows)


def _render_check(found: Checked) -> str:
    machine, state = found.description.machine, found.description.conditions
    clock, heat = state.frequency_hz, state.temperature_celsius
    rows = (
        ("device", found.device),
        ("board", machine.board or "-"),
        ("processor", machine.processor or "-"),
        ("architecture", machine.architecture),
        ("cores", f"{machine.cores}, {machine.usable_cores} usable"),
        ("memory", format_bytes(machine.memory_bytes)),
        ("kernel", f"{machine.system} {machine.kernel}"),
        ("python", machine.python),
        ("numpy", machine.numpy),
        ("runtimes", ", ".join(f"{item.name} {item.version}" for item in found.description.runtimes) or "none"),
        ("governor", state.governor or "-"),
        ("clock", "-" if clock is None else f"{format_count(clock)}Hz"),
        ("temperature", "-" if heat is None else f"{heat:.1f} °C"),
        ("power", state.power or "-"),
        ("throttled", "-" if state.throttled is None else ", ".join(throttle_flags(state.throttled)) or "no"),
        ("load", "-" if state.load_average is None else f"{state.load_average:.2f}"),
    )
    width = max(len(key) for key, _ in rows)
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in rows)
