"""The comparison with the peers: a tool that fails is a row, what was done is kept, and losses are said."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import bench_peers
from peers_page import page
from peers_plan import RECIPES, SCRIPTS, SUBJECTS, TOOLS, training_of
from peers_results import OURS, TECHNIQUES, Arena, Judged, Loss, Made, Results, Row, losses, lost_arenas
from watched import Load, Watched, watched

GOLDEN = Path(__file__).parent / "golden_peers.json"
SMALLEST = SUBJECTS[0]
HITS = np.arange(200) % 20 > 0
WORKS = """
import json, sys
from pathlib import Path
Path(json.loads(sys.argv[1])["out"]).write_bytes(b"file")
print('result {"seconds": 2.0, "judging_seconds": 0.5, "peak_bytes": 7}')
"""
REFUSES = "import sys; print('ValueError: no such layer'); sys.exit(2)"
ABORTS = "import os; os.abort()"


def row(tool: str, *, technique: str = "int8", hits: np.ndarray = HITS, size: int = 100, latency: float = 1e-3) -> Row:
    judged = Judged(np.packbits(hits).tobytes(), len(hits), size, size, (latency, latency * 1.1))
    return Row("Net, data", technique, tool, Made(seconds=3.0, judging_seconds=1.0, peak_bytes=1 << 20), judged)


def said(*rows: Row) -> dict[str, Loss]:
    return {one.what: one for one in losses(rows)}


def test_the_page_is_that_of_what_was_found() -> None:
    found = msgspec.json.decode(GOLDEN.read_bytes(), type=Results)
    assert page(found) == GOLDEN.with_suffix(".md").read_text(encoding="utf-8")


def test_what_was_not_run_is_said() -> None:
    found = msgspec.json.decode(GOLDEN.read_bytes(), type=Results)
    rows = [row for row in found.rows if row.tool != "tfmot"]
    text = page(replace(found, rows=tuple(rows)))
    assert "Not run: ResNet-8, digits.\n" in text
    assert "Not run: DS-CNN, digits: full int8; full int8, trained (tfmot); 80 %" in text
    assert "spoken" not in text, "data that few have are not missed"


def test_results_survive_the_disk(tmp_path: Path) -> None:
    found = msgspec.json.decode(GOLDEN.read_bytes(), type=Results)
    found.save(tmp_path / "peers.json")
    assert msgspec.json.decode((tmp_path / "peers.json").read_bytes(), type=Results) == found


def test_what_is_as_good_is_no_loss() -> None:
    assert not said(row(OURS), row("peer"))
    assert not said(row(OURS), row("peer", hits=np.zeros(200, bool), size=101, latency=2e-3))


def test_each_thing_that_a_peer_does_better_is_said() -> None:
    fast = row("peer", hits=np.ones(200, bool), size=50, latency=5e-4)
    fast = replace(fast, made=Made(seconds=1.0, peak_bytes=1 << 19))
    found = said(row(OURS), fast)
    assert set(found) == {
        *("accuracy", "file", "deflated", "latency"),
        *("time of the tool", "the same without judging", "memory of the tool"),
    }
    assert "95.00% against 100.00% (peer), -5.00 [" in found["accuracy"].worst
    assert "noise" not in found["accuracy"].worst
    assert "100 B against 50 B (peer)" in found["file"].worst
    assert "3.00 s against 1.00 s" in found["time of the tool"].worst
    assert "2.00 s against 1.00 s" in found["the same without judging"].worst


def test_a_larger_arena_is_a_loss() -> None:
    ours, peer = (Arena("Net", "int8", tool, size, 1) for tool, size in ((OURS, 300), ("peer", 200)))
    (lost,) = lost_arenas([ours, peer, replace(peer, tool="larger", planned_bytes=250)])
    assert (lost.what, lost.times, lost.of) == ("arena", 1, 1)
    assert lost.worst == "Net: 300 B against 200 B (peer)"
    assert not [*lost_arenas([ours, replace(peer, planned_bytes=300)])]
    assert not [*lost_arenas([ours, replace(peer, technique="qat")])]


def test_one_sample_more_is_a_loss_within_the_noise() -> None:
    better = HITS.copy()
    better[0] = True
    assert "within the noise" in said(row(OURS), row("peer", hits=better))["accuracy"].worst


def test_the_worst_is_named_and_the_networks_are_counted() -> None:
    others = [replace(row(tool, size=size), subject="Other") for tool, size in ((OURS, 100), ("a", 60), ("b", 30))]
    (found,) = {key: one for key, one in said(row(OURS), row("a", size=80), *others).items() if key == "file"}.values()
    assert (found.times, found.of) == (2, 2)
    assert found.worst.startswith("Other: 100 B against 30 B (b)")


def test_latency_is_lost_only_if_every_process_says_so() -> None:
    ours, peer = row(OURS), row("peer", latency=9e-4)
    assert "latency" in said(ours, peer)
    assert peer.judged is not None
    mixed = replace(peer, judged=replace(peer.judged, latency=(9e-4, 2e-3)))
    assert "latency" not in said(ours, mixed)


def test_a_failure_of_ours_is_a_loss_and_one_of_theirs_is_told_apart() -> None:
    failing = replace(row(OURS), made=Made(failure="RunError: no | such <thing>"), judged=None)
    for peer in (row("peer"), replace(failing, tool="peer")):
        (lost,) = said(failing, peer).values()
        assert (lost.what, lost.times, lost.of) == ("edgekit fails", 1, 1)
        assert lost.worst.startswith("Net, data: RunError")
    assert set(said(failing)) == {"edgekit fails"}
    assert not said(row(OURS), replace(row("peer"), made=Made(failure="X"), judged=None))
    found = msgspec.json.decode(GOLDEN.read_bytes(), type=Results)
    text = page(replace(found, rows=(row(OURS), replace(failing, tool="peer")), clocks=(), arenas=()))
    assert "| peer | full int8 | Net, data | RunError: no \\| such &lt;thing> |" in text
    assert "Nowhere, by" not in text
    assert "**Disturbed.**" not in page(replace(found, rows=(row(OURS),), clocks=(), judging_others={}))


def test_a_disturbed_run_says_so() -> None:
    found = msgspec.json.decode(GOLDEN.read_bytes(), type=Results)
    text = page(replace(found, rows=(row(OURS),), clocks=(), judging_others={"Net, data": 0.4}))
    assert "**Disturbed.**" in text
    assert "while files were judged 40%" in text


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (Watched(2, "talk\nValueError: no\n", "", 1.0, 1, 0.0), "ValueError: no"),
        (Watched(1, "", "Traceback\nImportError: none\n", 1.0, 1, 0.0), "ImportError: none"),
        (Watched(2, "", "python: can't open file\n", 1.0, 1, 0.0), "python: can't open file"),
        (Watched(-11, "", "", 1.0, 1, 0.0), "it was killed by signal 11"),
        (Watched(None, "result {}", "", 900.0, 1, 0.0), "it was not done after 900 s"),
        (Watched(0, "no result", "", 1.0, 1, 0.0), "it said nothing"),
    ],
)
def test_however_a_tool_ends_it_is_a_failure_in_words(done: Watched, words: str) -> None:
    assert bench_peers.made(done).failure == words


def test_the_larger_of_both_memories_counts() -> None:
    told = 'result {"seconds": 1.5, "judging_seconds": 0.25, "peak_bytes": 100}'
    assert bench_peers.made(Watched(0, told, "", 9.0, 300, 0.1)) == Made("", 1.5, 0.25, 300, 0.1)
    assert bench_peers.made(Watched(0, told, "", 9.0, 30, 0.1)).peak_bytes == 100


def test_the_memory_of_children_counts() -> None:
    child = "x = b'1' * (90 << 20); import time; time.sleep(1)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    done = watched([sys.executable, "-c", parent], 60)
    assert done.code == 0
    assert 90 << 20 < done.peak_bytes < 400 << 20


def test_what_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import time, pathlib\nwhile True: time.sleep(0.05); pathlib.Path({str(alive)!r}).write_text('x')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    done = watched([sys.executable, "-c", parent], 1.5)
    assert done.code is None
    time.sleep(0.3)
    alive.unlink(missing_ok=True)
    time.sleep(0.3)
    assert not alive.exists()


def test_our_own_work_is_not_that_of_others() -> None:
    load, end = Load(), time.process_time() + 0.5
    while time.process_time() < end:
        pass
    assert 0 <= load.others() < 1


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bench_peers.Bench:
    """A bench whose tools are short scripts: ours works, one refuses, one dies."""
    scripts = {OURS: WORKS, "TFLite converter": REFUSES, "litert-quantizer": ABORTS}
    for place, text in enumerate(scripts.values()):
        (tmp_path / f"{place}.py").write_text(text)
    monkeypatch.setattr(bench_peers, "SCRIPTS", {tool: tmp_path / f"{i}.py" for i, tool in enumerate(scripts)})
    (tmp_path / f"{SMALLEST.name.replace(' ', '_')}.keras").touch()  # so that nothing is trained
    return bench_peers.Bench(tmp_path)


def test_a_tool_that_fails_is_a_row_and_what_is_there_is_not_made_again(bench: bench_peers.Bench) -> None:
    found = msgspec.json.decode(GOLDEN.read_bytes(), type=Results)
    found = replace(found, rows=(), clocks=(), arenas=())
    *_, found = bench_peers.with_files(found, bench, [SMALLEST], ["int8"])
    ours, refused, died = found.rows
    assert (ours.made.failure, ours.made.seconds, ours.made.judging_seconds) == ("", 2.0, 0.5)
    assert bench.file(ours).read_bytes() == b"file"
    assert refused.made.failure == "ValueError: no such layer"
    assert died.made.failure == "it was killed by signal 6"
    assert not [*bench_peers.with_files(found, bench, [SMALLEST], ["int8"])]


def test_a_file_that_does_not_run_is_a_failure_of_its_tool(bench: bench_peers.Bench) -> None:
    found = msgspec.json.decode(GOLDEN.read_bytes(), type=Results)
    found = replace(found, rows=(Row(SMALLEST.name, "int8", OURS, Made(seconds=1.0)),), clocks=(), arenas=())
    bench.file(found.rows[0]).write_bytes(b"no model")
    *_, found = bench_peers.with_judgements(found, bench, [SMALLEST])
    assert found.rows[0].made.failure.startswith("its file does not run")
    assert found.rows[0].judged is None
    assert not [*bench_peers.with_judgements(found, bench, [SMALLEST])]


def test_an_ended_call_leaves_no_tool_behind(tmp_path: Path) -> None:
    """The tools of a copy are one script that says that it lives, for a minute."""
    lives = tmp_path / "lives"
    text = f"import pathlib, time\nfor _ in range(600): time.sleep(0.1); pathlib.Path({str(lives)!r}).touch()"
    (tmp_path / "tool.py").write_text(text)
    words = ["--subject", SMALLEST.name, "--technique", "int8", "--work", str(tmp_path), "--output", str(tmp_path)]
    call = (
        f"import sys; from pathlib import Path; sys.path.insert(0, {str(Path(bench_peers.__file__).parent)!r})\n"
        "import bench_peers\n"
        "bench_peers.Bench.float_model = lambda self, subject: None\n"
        f"bench_peers.SCRIPTS = dict.fromkeys(bench_peers.SCRIPTS, Path({str(tmp_path / 'tool.py')!r}))\n"
        f"bench_peers.main({words!r})"
    )
    with subprocess.Popen([sys.executable, "-c", call], stderr=subprocess.DEVNULL) as process:
        for _ in range(600):
            if lives.exists():
                break
            time.sleep(0.1)
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    time.sleep(0.3)
    lives.unlink()
    time.sleep(0.5)
    assert not lives.exists()


def test_other_code_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = msgspec.json.decode(GOLDEN.read_bytes(), type=Results)
    replace(found, fingerprint="same").save(tmp_path / "peers.json")
    monkeypatch.setattr(bench_peers, "fingerprint", lambda: "same")
    assert bench_peers.begun(tmp_path / "peers.json").rows == found.rows
    monkeypatch.setattr(bench_peers, "fingerprint", lambda: "other")
    assert not bench_peers.begun(tmp_path / "peers.json").rows


def test_a_part_is_forgotten_and_the_rest_stays() -> None:
    found = msgspec.json.decode(GOLDEN.read_bytes(), type=Results)
    less = bench_peers.forgotten(found, [SMALLEST], ["qat"])
    assert {row.technique for row in found.rows} - {row.technique for row in less.rows} == {"qat"}
    assert found.arenas
    assert not less.arenas
    assert less.clocks == found.clocks
    assert not bench_peers.forgotten(found, [SMALLEST], [*TECHNIQUES]).rows
    assert bench_peers.forgotten(found, [SUBJECTS[1]], [*TECHNIQUES]) == found


def test_data_that_are_not_here_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_peers, "SHARED", tmp_path)
    with pytest.raises(SystemExit):
        bench_peers.main(["--subject", "ds-cnn, spoken", "--output", str(tmp_path / "out")])
    assert "no data for 'ds-cnn, spoken': EDGEKIT_SHARED_DATA names no folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_tool_has_what_the_plan_asks_of_it() -> None:
    assert list(TOOLS) == list(RECIPES) == list(TECHNIQUES)
    peers = Path(bench_peers.__file__).parent / "peers"
    for technique, tools in TOOLS.items():
        assert tools[0] == OURS
        for tool in tools:
            source = (peers / SCRIPTS[tool]).read_text(encoding="utf-8")
            assert (f'"{technique}"' if tool == OURS else f'("{tool}", "{technique}")') in source


def test_peers_train_as_the_recipe_does() -> None:
    trainings = {technique: training_of(recipe.format(later=7, student=9)) for technique, recipe in RECIPES.items()}
    assert [trainings[key].epochs for key in ("qat", "zeros", "values", "student")] == [7, 7, 7, 9]
    assert trainings["qat"].learning_rate < trainings["zeros"].learning_rate


@pytest.mark.slow
def test_the_smallest_subject_is_compared(tmp_path: Path) -> None:
    words = ["--subject", SMALLEST.name, "--technique", "float32", "--work", str(tmp_path), "--output", str(tmp_path)]
    assert bench_peers.main(words) == 0
    found = msgspec.json.decode((tmp_path / "peers.json").read_bytes(), type=Results)
    assert [one.tool for one in found.rows] == list(TOOLS["float32"])
    for one in found.rows:
        assert not one.made.failure, one.made.failure
        assert one.judged is not None
        assert one.judged.accuracy > 0.9
        assert one.made.peak_bytes > 100 << 20
        assert min(one.judged.latency) > 0
    assert len({one.judged and one.judged.right for one in found.rows}) == 1, "one float model, one answer"
    assert "## DS-CNN, digits" in (tmp_path / "peers.md").read_text(encoding="utf-8")
