"""The import law: who may import whom, and that the light commands never load TensorFlow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "edgekit"

# A module may import only modules of a lower layer, or of its own.
LAYERS = (
    {"errors", "units", "versions", "talk", "terminal", "magic"},
    {"strict_toml", "limit", "new_file", "tf", "environment", "python_reference"},
    {"tflite", "device", "intervals", "formulas"},
    {"target", "target_files", "target_checks", "target_template", "operators", "figures", "latency_model"},
    {"forecast", "finding"},
    {"surgery"},
    {"check", "estimate", "data", "metrics", "bench", "answers", "answer_findings"},
    {"model", "dataset", "compare", "graph", "corruptions"},
    {"stages"},
    {"tfmot"},
    {"recipe", "latency"},
    {"step"},
    {"run_stage"},
    {"phrase", "compress", "draft"},
    {"source_check"},
    {"recommendation"},
    {"verify", "host_agreement"},
    {"artifact"},
    {"evaluate", "real_inputs", "workspace", "gate", "robustness"},
    {"makings"},
    {"doctor"},
    {"run"},
    {"speed"},
    {"package"},
    {"split"},
    {"report"},
    {"request", "job"},
    {"pipeline"},
    {"search"},
    {"cli"},
)
HEAVY = {
    "tensorflow",
    "keras",
    "PIL",
    "tf_keras",
    "tensorflow_model_optimization",
    "ai_edge_litert",
    "litert_quantizer",
    "h5py",
    "optuna",
}


def _module(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path, top_level: bool) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or path.stem[:2] != "__"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    level = {module: number for number, layer in enumerate(LAYERS) for module in layer}
    own = _module(path)
    inner = {name.split(".")[1] for name in _imports(path, top_level=True) if name.startswith("edgekit.")}
    assert own in level, f"{own} has no layer"
    assert not {name for name in inner - {own, "agent", "targets"} if level[name] > level[own]}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_heavy_is_imported_at_the_top(path: Path) -> None:
    assert not {name.split(".")[0] for name in _imports(path, top_level=True)} & HEAVY


def _loaded_by(*words: str) -> set[str]:
    code = f"""
import sys
sys.argv = ["edgekit", *{list(words)!r}]
from edgekit.cli import main
try:
    main()
except SystemExit as stop:
    code = stop.code
print("\\nLOADED", *sys.modules, file=sys.stderr)
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return set(done.stderr.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize("words", [["--help"], ["optimize", "--help"], ["targets", "list"], ["recipes", "list"]])
def test_light_commands_load_nothing_heavy(words: list[str]) -> None:
    assert not _loaded_by(*words) & HEAVY


def test_inspect_and_check_load_nothing_heavy(float_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(float_file)
    assert not _loaded_by("inspect", str(path)) & HEAVY
    assert not _loaded_by("check", str(path), "--target", "host") & HEAVY


def test_check_loads_no_stage(float_file: bytes, tmp_path: Path) -> None:
    """The training stages take longer to import than a check takes."""
    path = tmp_path / "model.tflite"
    path.write_bytes(float_file)
    loaded = _loaded_by("check", str(path), "--target", "raspberry-pi-4")
    assert not loaded & {"edgekit.recipe", "edgekit.stages.training", "edgekit.model", "edgekit.bench.run"}


def test_help_loads_click_and_little_else() -> None:
    assert not _loaded_by("--help") & {"numpy", "msgspec", "jinja2", "tflite"}


def test_every_package_and_only_those_is_installed() -> None:
    import configparser

    config = configparser.ConfigParser()
    config.read(PACKAGE.parent / "setup.cfg")
    listed = set(config["options"]["packages"].split()) - {"edgekit.targets", "edgekit.agent"}
    folders = {path.parent for path in PACKAGE.rglob("__init__.py")}
    assert listed == {".".join(folder.relative_to(PACKAGE.parent).parts) for folder in folders}


def test_windows_is_told_where_it_runs() -> None:
    code = "import sys; sys.platform = 'win32'; import edgekit"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "in WSL 2" in run.stderr.splitlines()[-1]
