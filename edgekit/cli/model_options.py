"""The argument and options about a model and its data that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from edgekit.cli import complete

F = TypeVar("F", bound=Callable[..., Any])


model_argument = click.argument("model", shell_complete=complete.files)
targets_option = click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    required=True,
    shell_complete=complete.targets,
    help="Target name, or path of a TOML file; repeat.",
)
trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Run the code that files bring or name: Lambda layers, Python in a data.toml or recipe.",
)

part_option = click.option(
    "--part",
    default="test",
    show_default=True,
    type=click.Choice(["train", "validation", "calibration", "test"]),
    help="Which part of the data is taken.",
)


def data_options(required: bool = False) -> Callable[[F], F]:
    """Add --data, and --metric, --task and --data-option, of which `collect` makes one mapping."""
    data = click.option(
        "--data",
        required=required,
        metavar="DATA",
        shell_complete=complete.files,
        help="An .npz, a folder of images, a .csv, a data.toml, or module:function.",
    )

    def add(function: F) -> F:
        for option in reversed((data, *_OPTIONS)):
            function = option(function)
        return function

    return add


_OPTIONS = (
    click.option("--metric", metavar="NAME", help="accuracy, top5, auc, mae, rmse, mean_iou or module:function."),
    click.option("--task", metavar="NAME", help="classification, regression, segmentation, autoencoder or none."),
    click.option(
        "--data-option",
        "pairs",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any key of data.toml: csv.label=price, heads.NAME.task=regression; a list in quotes, "
        "'preprocessing.scale=[0.00392]'. Repeatable.",
    ),
)


def collect(metric: str | None, task: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """The options as `load_dataset` takes them."""
    found = dict(_pair(text) for text in pairs)
    return found | {key: value for key, value in (("metric", metric), ("task", task)) if value is not None}


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--data-option")
    return key.strip(), _value(value.strip())


def _value(text: str) -> Any:
    """A TOML value where the text is one, else the text itself."""
    from edgekit.strict_toml import parse_value

    return parse_value(text)
