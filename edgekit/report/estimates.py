"""Estimates for a report: of the files of a run on the targets that somebody published figures of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edgekit.estimate import Forecast, estimate_latency
from edgekit.figures import figures_of
from edgekit.tflite.inspect import read_contents

if TYPE_CHECKING:
    from edgekit.run import Run
    from edgekit.target import Target


def forecasts(run: Run, files: Mapping[str, bytes], targets: Iterable[Target]) -> dict[str, Forecast]:
    """{name of an artifact: what figures say of its file}, of the targets that have figures.

    `files` are by sha256. Raises ModelError for one that cannot be read.
    """
    known = {target.name: target for target in targets if figures_of(target.name)}
    return {
        manifest.name: estimate_latency(read_contents(files[manifest.sha256]), known[manifest.target])
        for manifest in run.artifacts
        if manifest.target in known
    }
