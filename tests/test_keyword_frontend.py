"""The front end of examples/keyword_spotting_firmware: numpy, C here and C on a Cortex-M7 give the same bits."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_runs import KEYWORD, module, needs

Array = np.ndarray[Any, Any]
FIRMWARE = KEYWORD / "firmware"
KINDS = ("silence", "square", "lowest", "click", "tone", "whisper", "noise", "swell")
MAIN = """
#include <stdio.h>
#include "frontend.h"
int main(void)
{
  static frontend_t frontend;
  int16_t hop[FRONTEND_HOP];
  int8_t features[FRONTEND_FRAMES * FRONTEND_BANDS];
  while (fread(hop, sizeof hop, 1, stdin) == 1) {
    if (frontend_hear(&frontend, hop)) {
      frontend_features(&frontend, features);
      fwrite(features, sizeof features, 1, stdout);
    }
  }
  return 0;
}
"""
START = """
extern void __stack(void), _start(void);
__attribute__((section(".vectors"), used)) static void (*const vectors[])(void) = {__stack, _start};
"""
LAYOUT = """
MEMORY { code (rx) : ORIGIN = 0, LENGTH = 4M  ram (rwx) : ORIGIN = 0x20000000, LENGTH = 4M }
SECTIONS {
  .vectors : { KEEP(*(.vectors)) } > code
  .text : { *(.text*) *(.rodata*) KEEP(*(.init)) KEEP(*(.fini)) . = ALIGN(4);
    __preinit_array_start = .; __preinit_array_end = .;
    __init_array_start = .; KEEP(*(.init_array*)) __init_array_end = .;
    __fini_array_start = .; KEEP(*(.fini_array*)) __fini_array_end = .; } > code
  .ARM.exidx : { __exidx_start = .; *(.ARM.exidx*) __exidx_end = .; } > code
  .data : { *(.data*) } > ram
  .bss : { __bss_start__ = .; *(.bss*) *(COMMON) __bss_end__ = .; . = ALIGN(8); end = .; __end__ = .; } > ram
  __stack = ORIGIN(ram) + LENGTH(ram);
}
"""


@pytest.fixture(scope="module")
def frontend() -> Any:
    return module(KEYWORD, "frontend")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the tables, and a program that tells the features after each hop."""
    folder = tmp_path_factory.mktemp("frontend")
    subprocess.run([sys.executable, KEYWORD / "frontend.py", folder], check=True)
    for name, text in (("main.c", MAIN), ("start.c", START), ("board.ld", LAYOUT)):
        (folder / name).write_text(text)
    return folder


def compiled(compiler: str, folder: Path, *words: object) -> Path:
    """The program; a warning is an error."""
    needs(compiler)
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]
    files = [folder / "main.c", FIRMWARE / "frontend.c", "-o", folder / compiler]
    subprocess.run([compiler, *flags, f"-I{folder}", f"-I{FIRMWARE}", *map(str, words), *files], check=True)
    return folder / compiler


@pytest.fixture(scope="module")
def listener(sources: Path) -> Path:
    """The program for this computer."""
    return compiled("cc", sources)


def sound(kind: str, samples: int) -> Array:
    """Sounds at the edges of what 16 bits hold, and inside."""
    random, time = np.random.default_rng(3), np.arange(samples)
    made = {
        "silence": np.zeros(samples),
        "square": np.where(time // 40 % 2, 32767, -32768),
        "lowest": np.full(samples, -32768),
        "click": np.where(time == samples // 2, -32768, 0),
        "tone": 32767 * np.sin(2 * np.pi * 1234.5 / 8000 * time),
        "whisper": random.integers(-2, 3, samples),
        "noise": random.integers(-32768, 32768, samples),
        "swell": random.normal(0, 1, samples) * np.geomspace(0.3, 9000, samples),
    }[kind]
    return made.clip(-32768, 32767).astype(np.int16)


def assert_the_same(command: list[Any], samples: Array, frontend: Any) -> None:
    """What a program tells after each hop, and what numpy makes of the second before."""
    sent = samples.astype("<i2").tobytes()
    told = subprocess.run([*map(str, command)], input=sent, stdout=subprocess.PIPE, check=True, timeout=120).stdout
    found = np.frombuffer(told, np.int8).reshape(-1, frontend.FRAMES, frontend.BANDS)
    starts = range(0, len(samples) - frontend.CLIP + 1, frontend.HOP)
    wanted = [frontend.features(frontend.energies(samples[at : at + frontend.CLIP])) for at in starts]
    np.testing.assert_array_equal(found, np.stack(wanted))
    assert found.max() == 127


@pytest.mark.parametrize("kind", KINDS)
def test_c_and_numpy_hear_the_same_at_every_hop(kind: str, listener: Path, frontend: Any) -> None:
    hops = frontend.FRAMES + 1 + 75  # more than once around the ring
    assert_the_same([listener], sound(kind, hops * frontend.HOP), frontend)


def test_a_cortex_m7_hears_the_same(sources: Path, frontend: Any) -> None:
    """An emulated board, which reads and writes through its debugger."""
    needs("qemu-system-arm")
    core = ("-mcpu=cortex-m7", "-mthumb", "--specs=rdimon.specs", "-T", sources / "board.ld", sources / "start.c")
    program = compiled("arm-none-eabi-gcc", sources, *core)
    machine = ["qemu-system-arm", "-M", "mps2-an500", "-nographic", "-serial", "none", "-monitor", "none"]
    samples = np.concatenate([sound(kind, 20 * frontend.HOP) for kind in KINDS])
    assert_the_same([*machine, "-semihosting-config", "enable=on,target=native", "-kernel", program], samples, frontend)


def test_the_spectrum_is_the_fourier_transform(frontend: Any) -> None:
    x = np.random.default_rng(0).integers(-(2**19), 2**19, (frontend.WINDOW, 20))
    real, imaginary = frontend.spectrum(x)
    wanted = np.fft.fft(x, axis=0)
    assert np.abs(real + 1j * imaginary - wanted).max() < 2e-4 * np.abs(wanted).max()


def test_the_logarithm_is_right_to_a_step(frontend: Any) -> None:
    powers = 2 ** np.arange(62)
    x = np.concatenate([np.arange(1, 5000), powers, powers[1:] - 1, powers[2:] + 1])
    assert np.abs(frontend.logarithm(x) - frontend.STEPS * np.log2(x.astype(float))).max() < 0.6
    assert frontend.logarithm(np.array([0]))[0] == 0
    assert (np.diff(frontend.logarithm(np.sort(x))) >= 0).all()


def test_a_tone_is_loudest_in_its_band_and_loudness_changes_nothing(frontend: Any) -> None:
    time = np.arange(frontend.CLIP)
    loudest = []
    for hertz in (300, 1000, 3000):
        wave_of = [size * np.sin(2 * np.pi * hertz / 8000 * time) for size in (8000, 4000)]
        one, half = (frontend.features(frontend.energies(x.astype(np.int16))) for x in wave_of)
        loudest.append(int(one.mean(axis=0).argmax()))
        above = (one > -100) & (half > -100)
        assert np.abs(one.astype(int) - half)[above].max() <= 2
    assert loudest == sorted(set(loudest))


def test_recordings_are_the_same_from_wav_files_and_an_npz(tmp_path: Path) -> None:
    reader = module(KEYWORD, "recordings")
    random = np.random.default_rng(0)
    names = ["0_ann_0", "0_ann_12", "7_bob_3"]
    parts = [random.integers(-32768, 32768, size).astype(np.int16) for size in (400, 9000, 37)]
    for name, samples in zip(names, parts, strict=True):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    columns = {"length": [400, 9000, 37], "label": [0, 0, 7], "index": [0, 12, 3]}
    np.savez(tmp_path / "all.npz", audio=np.concatenate(parts), **columns)
    for place in (tmp_path, tmp_path / "all.npz"):
        found = reader.recordings(place, 10)
        assert [(one.word, one.take) for one in found] == [(0, 0), (7, 3)]
        np.testing.assert_array_equal(found[1].samples, parts[2])
        assert len(reader.clip(parts[1], 5)) == reader.CLIP
    with pytest.raises(SystemExit, match="mend: git clone"):
        reader.recordings(tmp_path / "nowhere", 10)


def test_a_recording_at_another_rate_is_named(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "0_ann_0.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
    with pytest.raises(SystemExit, match=r"0_ann_0\.wav: not 8 kHz"):
        module(KEYWORD, "recordings").recordings(tmp_path, 10)
