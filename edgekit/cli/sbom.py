"""`edgekit sbom`: the bill of materials of an artifact."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.common import escaped, refuse_place, say


@click.command("sbom")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--licence", "--license", "licence", metavar="TEXT", help="Licence of the model, such as Apache-2.0.")
@click.option("--out", "-o", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def command(artifact: Path, licence: str | None, out: Path | None, overwrite: bool) -> None:
    """Print the bill of materials of ARTIFACT, a folder that optimize wrote, as CycloneDX 1.6 JSON.

    \b
    edgekit sbom build/raspberry-pi-4/int8 --licence Apache-2.0 -o model.cdx.json
    """
    from edgekit.artifact import Artifact
    from edgekit.new_file import write_new
    from edgekit.package.sbom import sbom

    refuse_place(out, overwrite)
    bill = sbom(Artifact.load(artifact).manifest, licence)
    if out is None:
        click.echo(escaped(bill.decode()), nl=False)
    else:
        write_new(out, bill, overwrite=True)
        say(f"file: {out}")
