"""What the NNAPI delegate hands to Android of a file, at an API level; nothing is run.

NNAPI is deprecated since Android 15. What is taken here is what the delegate offers: each driver then says what it
really runs, which no public table tells, so this is an upper bound. Feature levels 6 and 7 belong to an updatable
runtime: what needs them is undecided from API level 31 on.
"""

from __future__ import annotations

from edgekit.errors import InputError
from edgekit.forecast.delegate import Delegate, forecast, refused
from edgekit.forecast.nnapi_checks import FEATURE_LEVEL_6, NNAPI_1_3
from edgekit.forecast.nnapi_rules import RULES
from edgekit.forecast.node import Fault, Node
from edgekit.forecast.placement import Forecast
from edgekit.operators import OperatorTable, load_table
from edgekit.tflite.graph import Graph

_FIRST = 27
_UPDATABLE = 31
_LATER = "ask for a newer Android, or take the CPU or the GPU"


def forecast_nnapi(graph: Graph, api_level: int, *, pieces: int = 3) -> Forecast:
    """Ask the NNAPI delegate about every operator of the main graph, on an Android of this API level.

    `pieces` is its max_number_delegated_partitions. A feature level (1000006, 1000007) may stand for the API level.
    Raises ModelError for a graph with a circle, InputError for no piece or a level below 1, TargetError if the shipped
    table is damaged.
    """
    if api_level < 1:
        raise InputError(
            f"API level {api_level}", "give the API level of the oldest Android, such as 29 for Android 10"
        )
    table = load_table("nnapi")
    return forecast(graph, Delegate("nnapi", table, lambda node: _ask(node, api_level, table), pieces))


def _ask(node: Node, level: int, table: OperatorTable) -> Fault | None:
    if level < _FIRST:
        return Fault("api-level", f"NNAPI came with API level {_FIRST}", _LATER)
    if _computed_half(node) and level >= NNAPI_1_3:
        return None
    fault = refused(node, table) or _level(node, level, table) or _first_input(node, level, table)
    return fault or next((found for rule in RULES.get(node.operator.name, ()) if (found := rule(node, level))), None)


def _computed_half(node: Node) -> bool:
    """float16 that is computed is unpacked whatever the version of the operator."""
    half = node.input(0)
    return node.operator.name == "DEQUANTIZE" and half.dtype == "float16" and not half.constant


def _level(node: Node, level: int, table: OperatorTable) -> Fault | None:
    since = table.operators[node.operator.name].since
    if since is None or level >= since:
        return None
    return Fault("api-level", f"needs {_named(since)}, and this is {_named(level)}", _LATER, not _open(since, level))


def _first_input(node: Node, level: int, table: OperatorTable) -> Fault | None:
    """The type of the first input is one that the level has."""
    kinds = {int(since): types for since, types in table.operators[node.operator.name].first_input.items()}
    found = node.input(0).dtype
    held = max((since for since in kinds if since <= level), default=None)
    if held is None or not kinds[held] or found in kinds[held]:
        return None
    later = min((since for since in kinds if since > level and found in (kinds[since] or (found,))), default=None)
    reason = f"its first input is {found}; {_named(level)} has {', '.join(kinds[held])}"
    reason += f" (and {found} from {_named(later)} on)" if later else ""
    return Fault("unsupported-type", reason, "compute in one of these types", later is None or not _open(later, level))


def _open(needed: int, level: int) -> bool:
    """A feature level of the updatable runtime, of which the API level says nothing."""
    return needed >= FEATURE_LEVEL_6 and level >= _UPDATABLE and level < FEATURE_LEVEL_6


def _named(level: int) -> str:
    return f"feature level {level % 1_000_000}" if level >= FEATURE_LEVEL_6 else f"API level {level}"
