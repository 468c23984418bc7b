"""`edgekit recipes`: list, show and validate recipes."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli import complete
from edgekit.cli.common import emit, json_option, list_alone, print_schema


@click.group("recipes", invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List, show and validate recipes. Without a subcommand: the list of presets.

    \b
    A recipe is a TOML file or a phrase: [STEP-...]FORMAT[:OPTION,...]
      steps    channelsN  remove channels until N % fewer multiply-accumulates
                          are left, distill
               factorizeN split layers into thinner ones, to N % fewer
                          multiply-accumulates
               dropN      remove residual branches that change the outputs by
                          at most N %
               studentN   distill into a student with N % of the channels
               pruneN     set N % of the weights to zero while training
               clusterN   let the weights of each layer share N values
               small      channels75
               qat        train the integer file; the last step, before int8
                          or int16x8
      formats  float32 float16 dynamic-int8 int8 int16x8
      options  per-tensor per-channel dense-per-tensor dense-per-channel
               io=float32|int8|uint8|int16  engine=litert|converter|tfmot
               keep-float=OPERATOR+OPERATOR  calibration=COUNT
               batch=COUNT  seed=NUMBER
               calibration=minmax|moving_average|percentile[:P]|mse|entropy
               epochs=COUNT  epochs=3x (three times the usual, as much more
               patience)  rate=3x (times the usual learning rate)
               one-shot (no training)
               by-sensitivity (more zeros and cuts where they cost least)
               no-rewrite (leave operators as the converter made them)
               engine=tfmot: tensorflow-model-optimization prunes, clusters and
               trains a tf_keras model; litert and converter are quantizers
    For example: int8:io=uint8,per-tensor, channels50-prune80-int8:epochs=20
    """
    list_alone(context, list_, as_json)


@command.command("list")
@json_option
def list_(as_json: bool = False) -> None:
    """List the preset recipes."""
    from edgekit.phrase import PRESETS
    from edgekit.report.table import render_table

    emit(PRESETS, as_json, lambda presets: render_table(["recipe", "what it does"], list(presets.items())))


@command.command("show")
@click.argument("recipe", shell_complete=complete.recipes)
@click.option(
    "--target",
    "-t",
    metavar="TARGET",
    shell_complete=complete.targets,
    help="Show it with every choice decided for this target.",
)
@json_option
def show(recipe: str, target: str | None, as_json: bool) -> None:
    """Show RECIPE, a phrase or a file, as TOML: a start for one of your own."""
    from edgekit.recipe import Recipe
    from edgekit.target import load_target

    found = Recipe.parse(recipe)
    emit(found.resolve(load_target(target)) if target else found, as_json, lambda value: value.to_toml().rstrip())


@command.command("validate")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def validate_command(files: tuple[Path, ...], as_json: bool) -> None:
    """Check recipe FILES (TOML). Exit code 1 if one cannot be used."""
    from edgekit.cli.validation import validate
    from edgekit.recipe import Recipe

    validate(files, Recipe.parse, as_json)


@command.command("schema")
def schema() -> None:
    """Print the JSON schema of recipe files, for editors."""
    from edgekit.recipe import Recipe
    from edgekit.strict_toml import json_schema

    print_schema(json_schema(Recipe))
