"""`edgekit recommend`: which techniques will pay for a model on a target, before anything is trained."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from edgekit.cli import complete
from edgekit.cli.common import emit, json_option, results_only, say
from edgekit.cli.model_options import model_argument, trust_option
from edgekit.errors import GateError

if TYPE_CHECKING:
    from edgekit.recommendation.technique import Latency, Limits, Recommendation, Size, Suggestion, Technique

_HEADER = ("technique", "verdict", "file", "compressed", "RAM", "MACs", "latency", "needs")


@click.command("recommend", short_help="Say which techniques will pay for a model on a target, and which will not.")
@model_argument
@click.option(
    "--target",
    "-t",
    required=True,
    metavar="TARGET",
    shell_complete=complete.targets,
    help="The board, by name or as a .toml; `edgekit targets` lists them.",
)
@click.option("--max-bytes", metavar="SIZE", help="Size of the file at most: 300K.")
@click.option("--max-latency", metavar="TIME", help="Time of an inference at most: 10ms.")
@click.option("--max-ram", metavar="SIZE", help="Memory for the tensors between operators at most: 64K.")
@click.option("--thorough", is_flag=True, help="Convert every variation of a large network, too: minutes, not seconds.")
@trust_option
@json_option
def command(
    model: str,
    target: str,
    max_bytes: str | None,
    max_latency: str | None,
    max_ram: str | None,
    thorough: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Hold every technique against MODEL and a target, without data and training: what pays, what does not, and why.

    Files are really made, with random ranges and untrained weights, so sizes and operators are those of the files to
    come and accuracy is not judged. What was only computed is marked with ~.

    \b
    edgekit recommend model.keras --target raspberry-pi-4
    edgekit recommend model.keras -t cortex-m4 --max-bytes 100K --max-ram 64K
    """
    from edgekit.recommendation.recommend import recommend

    limits = _limits(max_bytes, max_latency, max_ram)
    say("planning each technique and converting what it makes; nothing is trained")
    with results_only():
        found = recommend(model, target, limits=limits, trust=trust, thorough=thorough)
    emit(found, as_json, _render)
    if limits and not _could_meet(found):
        what = "neither the file nor a rewrite of it" if found.reference_numeric != "float32" else "no recipe here"
        raise GateError(
            f"{what} could meet the limits on {found.target}",
            "take a smaller architecture or input, or loosen the limits",
        )


def _could_meet(found: Recommendation) -> bool:
    """Whether some recipe could meet the limits; of a finished file, which takes none, the file or its rewrite."""
    if found.reference_numeric == "float32":
        return any(one.could_meet for one in found.suggestions)
    made = [(found.reference, found.reference_latency), *((one.size, one.latency) for one in found.techniques)]
    return any(False not in found.limits.meets(*one).values() for one in made if one[0])


def _limits(max_bytes: str | None, max_latency: str | None, max_ram: str | None) -> Limits:
    from edgekit.limit import SECONDS, parse_amount
    from edgekit.recommendation.technique import Limits
    from edgekit.units import parse_bytes

    sizes: list[int | None] = []
    for option, text in (("--max-bytes", max_bytes), ("--max-ram", max_ram)):
        try:
            sizes.append(None if text is None else parse_bytes(text))
        except ValueError as cause:
            raise click.BadParameter(str(cause), param_hint=option) from None
    sign, number, unit = parse_amount(max_latency or "") or ("", 0.0, "?")
    if max_latency is not None and (sign or unit not in SECONDS):
        raise click.BadParameter(f"{max_latency!r} is no time; write 10ms", param_hint="--max-latency")
    return Limits(sizes[0], number * SECONDS[unit] if max_latency is not None else None, sizes[1])


def _render(found: Recommendation) -> str:
    from edgekit.report.table import render_table

    plain = (f"as {found.reference_numeric}", "", *_sizes(found.reference), _time(found.reference_latency), "")
    rows = [plain, *(_row(one) for one in found.techniques)]
    parts = [f"{found.model} on {found.target}", render_table(_HEADER, rows), "\n".join(map(_why, found.techniques))]
    parts += ["\n".join([_basis(found), _MARKS])]
    parts += ["what else pays\n" + "\n".join(f"  {line}" for line in found.advice)] if found.advice else []
    parts += ["to try first\n" + "\n".join(map(_tried, found.suggestions))] if found.suggestions else []
    return "\n\n".join(parts)


_MARKS = "Accuracy was not judged. ~ is an estimate: computed from a plan, or from published figures."


def _basis(found: Recommendation) -> str:
    """Where the latencies are from, or why there are none: each reason once, whatever the MACs that it speaks of."""
    kinds = [found.reference_latency, *(one.latency for one in found.techniques if one.latency)]
    once = {(one.kind, re.sub(r"^[\d.]+ ?\w* MACs", "", one.basis)): one for one in reversed(kinds)}
    return "\n".join(f"Latency {one.kind}: {one.basis}" for one in reversed(once.values()))


def _row(one: Technique) -> tuple[str, ...]:
    sizes = _sizes(one.size) if one.size else ("", "", "", "")
    needs = ", ".join(need for need in one.needs if need != "training")
    return (one.name, one.verdict.replace("-", " "), *sizes, _time(one.latency) if one.latency else "", needs)


def _sizes(size: Size) -> tuple[str, ...]:
    from edgekit.units import format_bytes, format_count

    mark = "~" if size.kind == "planned" else ""
    bytes_ = (size.file_bytes, size.download_bytes, size.ram_bytes)
    return (
        *(f"{mark}{format_bytes(one)}" if one is not None else "unknown" for one in bytes_),
        format_count(size.macs),
    )


def _time(latency: Latency) -> str:
    from edgekit.units import format_seconds

    if latency.seconds is None:
        return "unknown"
    return f"{'~' if latency.kind == 'estimate' else ''}{format_seconds(latency.seconds)}"


def _why(one: Technique) -> str:
    beside = f", beside {one.beside}" if one.beside else ""
    lines = [f"{one.name}: {one.verdict.replace('-', ' ')}{beside}: {one.reason}", *(f"  {note}" for note in one.notes)]
    lines += [f"  risk: {one.risk}"] if one.risk else []
    lines += [f"  measured elsewhere: {one.evidence}"] if one.evidence else []
    return "\n".join(lines)


def _tried(one: Suggestion) -> str:
    words = {True: "met", False: "missed", None: "unknown"}
    limits = ", ".join(f"{name} {words[met]}" for name, met in one.meets.items())
    expected = f"; limits: {limits} (expected)" if limits else ""
    return f"  {one.command}\n    {one.why}{expected}"
