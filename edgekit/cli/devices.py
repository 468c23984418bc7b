"""`edgekit devices`: list the user's devices, and see what one is."""

from __future__ import annotations

import click
from msgspec import Struct

from edgekit import strict_toml
from edgekit.bench.describe import Description, describe
from edgekit.bench.disturbances import throttle_flags
from edgekit.bench.native import conditions, describe_phone
from edgekit.bench.result import Conditions, Phone
from edgekit.cli.common import emit, json_option, list_alone, print_schema, progress, say
from edgekit.cli.device_option import names
from edgekit.device.adb import AdbPhone
from edgekit.device.devices_file import Entry, devices_path, load_devices
from edgekit.device.find import find_device, find_phone, tool_for
from edgekit.device.remote import RemoteDevice
from edgekit.errors import MissingDependency
from edgekit.report.table import render_table
from edgekit.units import format_bytes, format_count


class Bare(Struct, frozen=True):
    """A phone that cannot run the agent: what it is, the tool that measures it, and what the agent would need."""

    phone: Phone
    conditions: Conditions
    benchmark_model: str | None
    problem: str
    mend: str


class Checked(Struct, frozen=True):
    """What `edgekit devices check --json` prints; `description` is null for a phone without Python, `bare` else.

    `bits` are those of a remote device's Python: a 64-bit kernel may carry a 32-bit system.
    """

    device: str
    description: Description | None
    bare: Bare | None = None
    bits: int | None = None
    format_version: int = 1


@click.group("devices", invoke_without_command=True, short_help="List your devices, and see what they are.")
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Your devices: the names that `--device` takes beside addresses. Without a subcommand: the list.

    \b
    They are tables of ~/.config/edgekit/devices.toml, or of the file that
    EDGEKIT_DEVICES names:
      [pi4]
      address = "ssh://pi@raspberrypi.local"
    """
    list_alone(context, list_command, as_json)


@command.command("list", short_help="The devices of your file.")
@json_option
def list_command(as_json: bool = False) -> None:
    """The devices of your file, one a line."""
    entries = load_devices()
    if entries or as_json:
        emit(entries, as_json, _render_list)
    else:
        say(f"no devices in {devices_path()}; `edgekit devices --help` shows what to write there")


@command.command("check", short_help="Connect to a device and say what it is.")
@click.argument("name", shell_complete=names)
@json_option
def check_command(name: str, as_json: bool) -> None:
    """Connect to NAME (or an address) and say what it is, its runtimes and its present state.

    A runtime is installed into the cache folder of the device if it has none. For a phone without Python it says what
    works there all the same.
    """
    try:
        with find_device(name, say=progress, native=False) as device:
            bits = device.hello.bits if isinstance(device, RemoteDevice) else None
            found = Checked(device.name, describe(device), bits=bits)
    except MissingDependency as lack:
        phone = find_phone(name)
        if phone is None:
            raise
        found = _checked_phone(phone, tool_for(name), lack)
    progress("")
    emit(found, as_json, _render_check)


def _checked_phone(phone: AdbPhone, tool: str | None, lack: MissingDependency) -> Checked:
    with phone:
        bare = Bare(describe_phone(phone), conditions(phone), tool, lack.problem, lack.mend)
    return Checked(phone.name, None, bare)


@command.command("schema", short_help="JSON schema of the devices file, for editors.")
def schema_command() -> None:
    """JSON schema of the devices file; editors complete and check with it."""
    print_schema(strict_toml.json_schema(dict[str, Entry]))


def _render_list(entries: dict[str, Entry]) -> str:
    rows = [(name, entry.address, entry.python, entry.runtime) for name, entry in sorted(entries.items())]
    return render_table(("device", "address", "python", "runtime"), rows)


def _render_check(found: Checked) -> str:
    rows: tuple[tuple[str, str], ...] = (("device", found.device),)
    if found.description is not None:
        rows += _rows(found.description, found.bits)
    if found.bare is not None:
        rows += _rows_of_phone(found.bare)
    width = max(len(key) for key, _ in rows)
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in rows)


def _rows(description: Description, bits: int | None) -> tuple[tuple[str, str], ...]:
    machine = description.machine
    other = f", {bits}-bit system" if bits == 32 and "64" in machine.architecture else ""
    return (
        ("board", machine.board or "-"),
        ("processor", machine.processor or "-"),
        ("architecture", machine.architecture + other),
        ("cores", f"{machine.cores}, {machine.usable_cores} usable"),
        ("memory", format_bytes(machine.memory_bytes)),
        ("kernel", f"{machine.system} {machine.kernel}"),
        ("python", machine.python),
        ("numpy", machine.numpy),
        ("runtimes", ", ".join(f"{item.name} {item.version}" for item in description.runtimes) or "none"),
        *_state(description.conditions),
    )


def _rows_of_phone(bare: Bare) -> tuple[tuple[str, str], ...]:
    phone = bare.phone
    option = "" if bare.benchmark_model else ", with --benchmark-model PATH"
    tool = f" ({bare.benchmark_model})" if bare.benchmark_model else ""
    return (
        ("model", phone.model or "-"),
        ("chip", phone.soc or "-"),
        ("android", phone.android or "-"),
        ("architecture", phone.architecture or "-"),
        ("cores", str(phone.cores or "-")),
        ("memory", format_bytes(phone.memory_bytes)),
        ("kernel", phone.kernel or "-"),
        *_state(bare.conditions),
        ("works", f"edgekit benchmark{option}: by TensorFlow Lite's own tool{tool}, a summary without intervals"),
        ("does not", "edgekit evaluate, compare and profile; edgekit benchmark with --data, --retries, --strict"),
        ("because", bare.problem),
        ("mend", bare.mend),
    )


def _state(state: Conditions) -> tuple[tuple[str, str], ...]:
    clock, heat = state.frequency_hz, state.temperature_celsius
    return (
        ("governor", state.governor or "-"),
        ("clock", "-" if clock is None else f"{format_count(clock)}Hz"),
        ("temperature", "-" if heat is None else f"{heat:.1f} °C"),
        ("power", state.power or "-"),
        ("throttled", "-" if state.throttled is None else ", ".join(throttle_flags(state.throttled)) or "no"),
        ("load", "-" if state.load_average is None else f"{state.load_average:.2f}"),
    )
