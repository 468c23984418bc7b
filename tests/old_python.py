"""Python 3.9: what is shipped to run on a device is written in it."""

from __future__ import annotations

import ast
from pathlib import Path


def assert_written_in_it(folder: Path) -> None:
    """Every source of a folder parses as 3.9, and uses nothing of 3.10 that parses all the same."""
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        future = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
        assert future or not any(isinstance(node, ast.FunctionDef) for node in tree.body), f"{path.name}: annotations"
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not [node for node in calls if "strict" in {word.arg for word in node.keywords}], "zip(strict=) is 3.10"
