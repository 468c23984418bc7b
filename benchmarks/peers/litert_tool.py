"""LiteRT's own benchmark tool, with its median unrounded: `python litert_tool.py MODEL RUNS WARM_UP_RUNS`.

`ai_edge_litert/tools/benchmark_litert_model.py` runs a model through `CompiledModel` and rounds to 10 us in its JSON.
"""

import json
import sys
from contextlib import redirect_stdout

from ai_edge_litert.tools import benchmark_litert_model as tool


def main():
    """Run the tool as its command line does, and print one line of JSON."""
    path, runs, warm_up = sys.argv[1:]
    tool.round = lambda value, digits: value
    sys.argv = ["tool", f"--model={path}", f"--num_runs={runs}", f"--warmup_runs={warm_up}", "--num_threads=1"]
    with redirect_stdout(sys.stderr):
        latency = tool.run_benchmark(tool.parse_args())["latency"]
    print(json.dumps({"median_ns": latency["median_ms"] * 1e6}))


if __name__ == "__main__":
    main()
