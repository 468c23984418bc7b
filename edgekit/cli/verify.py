"""`edgekit verify`: is a package what its maker made, and does it compute what it should."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from edgekit.cli.common import emit, json_option
from edgekit.cli.device_option import device_option, opened
from edgekit.cli.plan_options import run_options
from edgekit.errors import GateError
from edgekit.package.signature import SignatureCheck
from edgekit.package.verify_package import PackageCheck, PackageManifest, verify_package

if TYPE_CHECKING:
    from edgekit.bench.plan import Plan
    from edgekit.package.verify_run import VariantRun


class Report(Struct, frozen=True):
    """What the command prints: a package beside its manifest, and, if asked, its models beside the golden vectors."""

    passed: bool
    check: PackageCheck
    runs: tuple[VariantRun, ...]


@click.command("verify")
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--key", metavar="PUBKEY", help="Public key (minisign), its file or its line: demand its signature.")
@click.option("--run", "runs", is_flag=True, help="Run the golden vectors through the models, too.")
@device_option()
@run_options()
@json_option
def command(package: Path, key: str | None, runs: bool, device: str, plan: Plan, as_json: bool) -> None:
    """Check PACKAGE, a folder of `edgekit package` or a .zip, .tar or .tar.gz of it: every file, and who signed it.

    \b
    edgekit verify android/digits --key release.pub
    edgekit verify digits.zip --key RWQ... --run --device pi4

    It ends with code 1 where a file was changed, added or taken away, where the signature is not of the key, or where
    a model does not compute its golden vectors. What fails is not run.
    """
    if device != "local" and not runs:
        raise click.UsageError("--device is where --run runs the models: give that, too")
    check = verify_package(package, key)
    done = _run(package, check.manifest, plan, device) if runs and check.passed and check.manifest else ()
    failed = [one for one in done if one.check is not None and not one.check.passed]
    idle = runs and check.passed and all(one.check is None for one in done)
    emit(Report(check.passed and not failed and not idle, check, done), as_json, _render)
    if not check.passed:
        raise GateError(f"{package} is {_verdict(check)}", check.findings[0].mend)
    if failed:
        raise GateError(f"{package} does not compute its golden vectors", "see which output is off")
    if idle:
        raise GateError(f"{package} has nothing that could be run here", "leave --run out, or see above why")


def _run(package: Path, manifest: PackageManifest, plan: Plan, device: str) -> tuple[VariantRun, ...]:
    from edgekit.package.verify_run import run_package

    with opened(device, plan.runtime) as place:
        return run_package(package, manifest, plan, place)


def _render(report: Report) -> str:
    check = report.check
    lines = [f"{check.package}: {_verdict(check)}"]
    if (told := check.manifest) is not None:
        lines.append(f"  {told.name} {told.version} for {told.kind}, {len(told.files)} files")
    lines.append(f"  {_signature(check.signature)}")
    lines += [f"  {one.code:10} {one.subject}: {one.problem}" for one in check.findings]
    return "\n".join([*lines, *(line for one in report.runs for line in _ran(one))])


def _verdict(check: PackageCheck) -> str:
    """Without a signature that was checked, only that the package is what its own manifest says."""
    if not check.passed:
        return "NOT what was signed" if check.manifest is None else "NOT what its manifest says"
    return "what was signed" if check.signature.state == "valid" else "what its manifest says"


def _signature(found: SignatureCheck) -> str:
    words = {
        "valid": f"signed by the key {found.key_id}",
        "invalid": "the signature is not valid",
        "unchecked": f"signed, it says by the key {found.key_id}; not checked, since no --key is given",
        "absent": "not signed",
    }
    return words[found.state]


def _ran(one: VariantRun) -> list[str]:
    if one.check is None:
        return [f"  {one.unit} {one.file}: not run, {one.reason}"]
    found = one.check
    verdict = "passed" if found.passed else "FAILED"
    pairs = zip(found.outputs, found.worst, strict=True)
    head = f"  {one.unit} {one.file}: {verdict}, {found.samples} samples on {found.device}, {found.runtime}"
    return [head, *(f"    {name}: off by {worst:.3g} of what is allowed" for name, worst in pairs)]
