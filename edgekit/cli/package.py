"""`edgekit package`: a model and all that is needed around it, made anew only where something changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from edgekit.cli import complete
from edgekit.cli.common import emit, json_option, say
from edgekit.cli.key_option import passphrase, sign_option
from edgekit.cli.package_options import kind_options, take_options
from edgekit.package.build import FIRST_VERSION, KINDS, package_model, write_depfile, write_stamp
from edgekit.package.folder import SIGNATURE
from edgekit.package.signature import sign_folder


class Report(Struct, frozen=True):
    """What the command prints: the folder, the name that its code goes by, what was written, and each model file."""

    folder: Path
    kind: str
    name: str
    written: tuple[str, ...]
    variants: tuple[dict[str, Any], ...]
    arena: dict[str, Any] | None
    forced: tuple[str, ...]
    notices: tuple[str, ...]


def _cmake_folder(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(Path(__file__).parent.parent / "package" / "cmake")
        context.exit()


def _numbers(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            value = float(number)
        except ValueError:
            raise click.BadParameter(f"{word!r} is not NAME=NUMBER, such as threshold=0.5") from None
        if found.setdefault(name, value) != value:
            raise click.BadParameter(f"{name} is given as {found[name]:g} and as {value:g}: give it once")
    return found


@click.command("package")
@click.argument("models", nargs=-1, required=True, metavar="[UNIT=]MODEL...")
@click.option("--for", "kind", type=click.Choice(KINDS), required=True, help="What the package goes into.")
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Folder for the package.")
@click.option("--name", help="Begins the names in the package. Default: the name of the model.")
@click.option("--package-version", "version", default=FIRST_VERSION, show_default=True, help="Version of the package.")
@click.option("--licence", "--license", "licence", metavar="TEXT", help="Licence of the model, such as Apache-2.0.")
@click.option("--labels", type=click.Path(path_type=Path), help="Text file: a name for each place of the output.")
@click.option(
    *("--vectors", "vectors"),
    type=click.Path(path_type=Path),
    multiple=True,
    help="Golden vectors of `edgekit vectors` to use in place of random samples; one file for each model.",
)
@click.option(
    *("--constant", "constants"),
    multiple=True,
    metavar="NAME=NUMBER",
    callback=_numbers,
    help="A number that the code on the device needs beside the model, such as a threshold. Repeatable.",
)
@click.option(
    "--target", "-t", shell_complete=complete.targets, help="Refuse what breaks the rules or the budget of this target."
)
@sign_option
@click.option("--depfile", type=click.Path(path_type=Path), help="Write what was read, for Make or Ninja.")
@click.option(
    "--stamp", type=click.Path(path_type=Path), help="Renew the time of this file, for Make; --depfile is of it then."
)
@click.option("--force", is_flag=True, help="Package it although --target refuses it.")
@click.option(
    *("--cmake-dir", "asked"),
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_cmake_folder,
    help="Print the folder for find_package(edgekit), and stop.",
)
@kind_options
@json_option
def command(
    models: tuple[str, ...],
    kind: str,
    out: Path,
    key: Path | None,
    depfile: Path | None,
    stamp: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Package MODELs, .tflite files or artifact folders, with golden vectors, a self-test and what a build needs.

    Several variants of one model go into one package: UNIT is cpu, gpu or edgetpu, and the device uses the first that
    it has of edgetpu, gpu, cpu. A second call writes nothing where nothing changed, so builds may call it each time.

    \b
    edgekit package model.tflite --for firmware -o firmware/model \\
        --target cortex-m7
    edgekit package gpu=float16.tflite cpu=int8.tflite --for android \\
        -o app/model --labels labels.txt
    cmake -Dedgekit_DIR="$(edgekit package --cmake-dir)" ...
    """
    own, before = take_options(kind, options), (out / SIGNATURE).is_file()
    made = package_model(models, out, kind=kind, options=own, **options)
    unsigned = before and key is None and not (out / SIGNATURE).is_file()
    signed = key is not None and sign_folder(out, key, passphrase())
    if depfile is not None:
        write_depfile(depfile, made, stamp)
    if stamp is not None:
        write_stamp(stamp)
    for notice in made.notices:
        say(f"note: {notice}")
    if unsigned:
        say("note: the signature was of the former manifest and is removed: sign again with --sign KEY")
    for problem in made.forced:
        say(f"warning: forced: {problem}")
    told = made.manifest
    report = Report(
        made.folder,
        kind,
        made.name,
        (*made.written, *([SIGNATURE] if signed else [])),
        tuple(told["variants"]),
        told.get("arena"),
        made.forced,
        made.notices,
    )
    emit(report, as_json, _render)


def _render(report: Report) -> str:
    from edgekit.units import format_bytes

    count = len(report.written)
    done = f"{count} file{'s' * (count > 1)} written" if count else "nothing to do"
    lines = [f"{report.folder}: {report.name} for {report.kind}: {done}"]
    for one in report.variants:
        golden = one["golden"]
        proof = (
            f"{golden['samples']} golden vectors of {golden['runtime']}" if golden["samples"] else "no golden vectors"
        )
        lines.append(f"  {one['unit']}: {one['file']}, {one['numeric']}, {format_bytes(one['bytes'])}; {proof}")
    if report.arena:
        size = format_bytes(report.arena["bytes_32"])
        lines.append(f"  arena: {size} with 32-bit pointers, {report.arena['how']}")
    return "\n".join(lines)
