"""The agent's loop and a bare one on the same interpreter, in turns: `python loop_turns.py MODEL TURNS SECONDS`.

Prints one ratio of medians (agent / bare) for each pair of turns; the order is turned round each time. What one process
has for good (where its memory lies) is the same for both, so what remains is the loop itself.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
from bare_loop import loop, opened

AGENT = Path(__file__).resolve().parent.parent / "agent" / "agent.py"


def main():
    """Take the turns, and print one line of JSON."""
    spec = importlib.util.spec_from_file_location("agent", AGENT)
    agent = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(agent)
    path, turns, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    invoke = opened(path).invoke
    rule = {"min_runs": 1, "max_runs": 10**9, "min_seconds": seconds, "max_seconds": seconds}
    sides = [lambda: agent.steady(invoke, rule, agent.Watch()), lambda: loop(invoke, seconds)]
    loop(invoke, 4 * seconds)
    ratios, runs = [], [0, 0]
    for turn in range(turns):
        order = (0, 1) if turn % 2 else (1, 0)
        times = {side: np.asarray(sides[side]()) for side in order}
        runs = [before + times[side].size for side, before in enumerate(runs)]
        medians = {side: float(np.median(taken)) for side, taken in times.items()}
        ratios.append(medians[0] / medians[1])
    print(json.dumps({"ratios": ratios, "runs": runs}))


if __name__ == "__main__":
    main()
