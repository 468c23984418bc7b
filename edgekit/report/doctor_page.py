"""What the doctor found and did, as a page that needs nothing else."""

from __future__ import annotations

from edgekit.doctor.diagnosis import Diagnosis
from edgekit.doctor.repair import Repair
from edgekit.report import words
from edgekit.report.commands import Step, step
from edgekit.report.doctor import latencies
from edgekit.report.network import DRAWN
from edgekit.report.template import css, template


def page(name: str, found: Diagnosis, repair: Repair | None = None) -> str:
    """The page of a file: causes, what a repair gave, and the noise over the network."""
    return template("doctor.html").render(
        css=css(),
        name=name,
        found=found,
        repair=repair,
        bill=latencies(repair, words.seconds) if repair else "",
        bottom_line=bottom_line(found, repair),
        steps=_steps(name, found, repair),
        **DRAWN,
    )


def bottom_line(found: Diagnosis, repair: Repair | None) -> str:
    """What came of it in one sentence."""
    if repair:
        kept = ", ".join(rung.name for rung in repair.rungs[1:] if rung.kept) or "the file as it came"
        return f"Repaired: {kept}." if repair.met else f"The floor was missed: {kept} is the best there is."
    if not found.findings:
        return "It loses, and no single operator is to blame." if found.suffered else "It is sound."
    count = len(found.findings)
    return "One cause was found." if count == 1 else f"{count} causes were found."


def _steps(name: str, found: Diagnosis, repair: Repair | None) -> tuple[Step, ...]:
    train = step(
        "Train it as the integer file computes", *["optimize", "MODEL", "--data", "DATA", "-r", "qat-int8", "-o", "OUT"]
    )
    if repair and not repair.met:
        return (train,)
    if repair or not (found.suffered or found.findings):
        return (
            step("Measure it", "benchmark", name),
            step("Package it for a device", "package", name, "--for", "linux", "-o", "package"),
        )
    mend = ["doctor", name, "--float", "MODEL", "--data", "DATA", "--repair", "-o", "repaired.tflite"]
    return (step("Repair it without training where that is possible", *mend), train)
