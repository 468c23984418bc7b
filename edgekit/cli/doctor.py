"""`edgekit doctor`: is this environment ready, and what mends each lack."""

from __future__ import annotations

import click

from edgekit.cli.common import emit, json_option


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Check this environment: Python, packages, runtimes, tools. Exit code 1 if edgekit itself cannot work."""
    from edgekit.environment import examine
    from edgekit.report.table import render_table

    findings = examine()
    emit(
        findings,
        as_json,
        lambda all_: render_table(
            ["", "what", "found", "needed for", "mend"],
            [[f.state, f.name, f.found, f.needed_for, f.mend] for f in all_],
        ),
    )
    if any(finding.state == "fault" for finding in findings):
        raise click.exceptions.Exit(1)
