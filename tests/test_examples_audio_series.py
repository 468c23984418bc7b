"""examples/keyword_spotting_firmware and examples/vibration_pi: both run as their pages say, and do what they claim."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from example_runs import KEYWORD, VIBRATION, module, needs, played, scores
from shown import blocks

Once = Callable[[str, Callable[[Path], None]], Path]
pytestmark = pytest.mark.example

# --- keyword spotting ---


@pytest.fixture(scope="module")
def keyword(once: Once, shared_data: Path) -> Path:
    """Folder in which the example has run, and what it printed in `said`."""
    needs("cmake", "cc")
    data = shared_data / "sets" / "fsdd.npz"
    if not data.exists():
        pytest.skip("the shared data have no fsdd.npz")

    def make(folder: Path) -> None:
        said = played(KEYWORD, folder, **{"free-spoken-digit-dataset/recordings": str(data), "build/keyword": "build"})
        (folder / "said").write_text(said)

    return once("keyword_example", make)


def test_the_firmware_hears_what_the_training_heard(keyword: Path) -> None:
    said = (keyword / "said").read_text()
    assert "300 recordings: 0 of 446400 features differ between C and Python" in said
    accuracy = float(re.findall(r"on the features of the C code: ([\d.]+)", said)[0])
    before, after = scores(keyword / "build/models")
    assert accuracy == pytest.approx(after, abs=0.005)  # one kernel or another
    assert accuracy > 0.85
    assert before - after <= 0.02


def test_the_firmware_package_holds_real_recordings(keyword: Path) -> None:
    manifest = json.loads((keyword / "build/firmware/manifest.json").read_text())
    (variant,) = manifest["variants"]
    assert variant["golden"]["data"].endswith("features.npz")
    assert (variant["inputs"][0]["scale"], variant["inputs"][0]["zero_point"]) == (1.0, 0)
    assert variant["labels"][7] == "seven"


def test_a_model_of_other_features_is_refused_by_the_firmware(keyword: Path, tmp_path: Path) -> None:
    package = shutil.copytree(keyword / "build/firmware", tmp_path / "firmware")
    header = package / "keyword.h"
    header.write_text(header.read_text().replace("INPUT_0_SCALE 1.0f", "INPUT_0_SCALE 0.98f"))
    options = [f"-DMODEL={package}", f"-DPython3_EXECUTABLE={sys.executable}"]
    folder = tmp_path / "spotter"
    subprocess.run(["cmake", "-S", KEYWORD / "firmware", "-B", folder, *options], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", folder], check=True, capture_output=True)
    done = subprocess.run([folder / "spotter"], input=b"", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"other features" in done.stderr


# --- vibration ---


def test_defects_are_struck_as_often_as_the_maker_of_the_bearing_says() -> None:
    found = module(VIBRATION, "physics").defect_hertz(1.0)
    assert found == pytest.approx({"outer race": 3.585, "inner race": 5.415, "ball": 4.714}, abs=0.001)


@pytest.mark.parametrize("fault", ["outer race", "inner race", "ball"])
def test_a_fault_is_heard_at_its_frequency(fault: str) -> None:
    """The envelope of the band in which the housing rings beats at the defect's frequency, whatever the speed."""
    physics = module(VIBRATION, "physics")
    shafts: list[float] = []
    for seed in range(5):
        x = physics.vibration(np.random.default_rng(seed), fault, 1.0, 1 << 16)
        spectrum = np.fft.fft(x)
        hertz = np.fft.fftfreq(len(x), 1 / physics.RATE)
        ringing = np.where((hertz > 2500) & (hertz < 4000), spectrum, 0)
        envelope = np.abs(np.fft.fft(np.abs(np.fft.ifft(ringing)) ** 2))
        ratio = physics.defect_hertz(1.0)[fault]
        beat = (hertz > 23 * ratio) & (hertz < 31 * ratio)
        peak = hertz[beat][envelope[beat].argmax()] / ratio
        shaft = np.random.default_rng(seed).uniform(24, 30)
        shafts.append(abs(peak / shaft - 1))
    assert np.median(shafts) < 0.01


def test_a_tone_is_power_in_its_band() -> None:
    bands = module(VIBRATION, "spectrum")
    time = np.arange(bands.WINDOW) / bands.RATE
    x = bands.bands(np.stack([size * np.sin(2 * np.pi * 1000 * time) for size in (1.0, 0.1)]))
    assert x.shape == (2, bands.BANDS)
    assert x.argmax(axis=1).tolist() == [1000 * 2 * bands.BANDS // bands.RATE] * 2
    assert x[0].max() - x[1].max() == pytest.approx(1.0, abs=0.01)  # 20 dB are 1


@pytest.fixture(scope="module")
def vibration(once: Once) -> Path:
    """Folder in which the example has run, and what it printed in `said`."""

    def make(folder: Path) -> None:
        (folder / "said").write_text(played(VIBRATION, folder, **{"build/vibration": "build"}))

    return once("vibration_example", make)


@pytest.fixture(scope="module")
def board(vibration: Path) -> Path:
    """The package as it is unpacked on a Pi, with the service beside it."""
    return vibration / "build" / "pi" / "bearing-1.0.0"


def test_the_fault_is_found_and_int8_costs_nothing(vibration: Path) -> None:
    before, after = scores(vibration / "build/models")
    assert before > 0.8
    assert abs(before - after) < 0.02
    said = (vibration / "said").read_text()
    ((false, found),) = re.findall(r"([\d.]+)% false alarms, ([\d.]+)% of faults found", said)
    assert float(false) < 8
    assert float(found) > 40


def test_the_threshold_is_that_of_the_sound_validation_windows(vibration: Path, board: Path) -> None:
    constants = json.loads((board / "bearing/contract.json").read_text())["constants"]
    said = float(re.findall(r"threshold ([\d.]+):", (vibration / "said").read_text())[0])
    assert constants["patience"] == 3
    assert constants["alarm"] == pytest.approx(said, abs=1e-4)


def test_the_service_alarms_only_when_the_fault_is_there(vibration: Path) -> None:
    """Twelve seconds are sound."""
    alarms = re.findall(r"^([\d.]+) s: (\w+)", (vibration / "said").read_text(), re.MULTILINE)
    assert [state for _, state in alarms] == ["ALARM"]
    assert 12 < float(alarms[0][0]) < 20


def test_an_alarm_takes_three_windows_in_a_row_and_ends_as_it_began(board: Path) -> None:
    physics = module(VIBRATION, "physics")
    random = np.random.default_rng(1)
    depths = [0] * 6 + [1] * 2 + [0] * 6 + [1] * 8 + [0] * 8
    signal = np.concatenate([physics.vibration(random, "ball", depth) for depth in depths])
    sent = signal.astype("<f4").tobytes()[:-1000]  # the sensor may end within a window
    done = subprocess.run([sys.executable, "watch.py"], cwd=board, input=sent, capture_output=True, check=True)
    told = re.findall(r"^([\d.]+) s: (\w+)", done.stdout.decode(), re.MULTILINE)
    window = physics.WINDOW / physics.RATE
    assert told == [(f"{17 * window:.1f}", "ALARM"), (f"{25 * window:.1f}", "quiet")]


def test_the_unit_starts_the_service_after_the_selftest(board: Path) -> None:
    unit = (VIBRATION / "bearing-watch.service").read_text()
    assert (board / "bearing.service").exists()
    assert {"Requires=bearing.service", "After=bearing.service"} <= set(unit.splitlines())
    assert re.findall(r"exec (\S+) (\S+)'", unit) == [("/opt/bearing/bin/python3", "/opt/bearing-watch/watch.py")]


# --- both ---


@pytest.mark.parametrize("example", [KEYWORD, VIBRATION], ids=lambda one: one.name)
def test_the_page_knows_its_files(example: Path) -> None:
    text = (example / "README.md").read_text()
    told = set(re.findall(r"`((?:firmware/)?[\w-]+\.(?:py|toml|c|cc|service|txt))`", text))
    there = {str(path.relative_to(example)) for path in example.rglob("*.*") if "__pycache__" not in path.parts}
    named = {one for one in told if (example / one).exists() or (example / "firmware" / one).exists()}
    assert named == told
    assert {one for one in there if one.endswith((".py", ".toml"))} <= told
    assert blocks(text, "sh")
