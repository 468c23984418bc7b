"""Firmware packages: they compile, tell right from wrong, are built as documented, and stay when nothing changed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from artifacts import artifact
from msgspec import structs
from toys import Toy

from edgekit.data.spec import Preprocessing
from edgekit.errors import GateError, InputError, ModelError, OutputError
from edgekit.package import build, contents, firmware_files, folder
from edgekit.package.build import Packaged, write_depfile
from edgekit.package.golden import golden_vectors
from edgekit.package.micro_run import micro_there
from edgekit.tflite.metadata import FileMetadata, write_metadata

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-O1"]
LOGISTIC = 14
LABELS = ("zéro??/", 'o"ne', *(f"label {place}" for place in range(2, 32)))
Run = Callable[..., subprocess.CompletedProcess[str]]
needs_micro = pytest.mark.skipif(not micro_there(), reason="the package tflite-micro is not installed")


def package_firmware(model: Path, out: Path, **told: Any) -> Packaged:
    return build.package_model([model], out, kind="firmware", **told)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LOGISTIC of 32 int8 values."""
    path = tmp_path_factory.mktemp("model") / "curve.tflite"
    graph = tiny_models.Graph()
    x, y = (graph.tensor(*facts) for facts in (("x", (1, 32), 9, 0.05, 3), ("y", (1, 32), 9, 1 / 256, -128)))
    graph.operator(LOGISTIC, [x], [y])
    path.write_bytes(graph.bytes([x], [y]))
    return path


@pytest.fixture(scope="module")
def package(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package_firmware(model, tmp_path_factory.mktemp("firmware") / "curve", target="cortex-m7").folder


def test_the_readme_tells_all_that_is_done_to_a_raw_sample(tmp_path: Path) -> None:
    steps = Preprocessing(mean=(8.0,), scale=(0.5,), layout="channels_first")
    made = package_firmware(artifact(tmp_path / "a", tiny_models.negative((1, 2, 2, 3)), (), steps), tmp_path / "out")
    words = "minus 8, then times 0.5, then from channels first to channels last"
    assert f"of a raw sample, before it is quantized: {words} |" in (made.folder / "README.md").read_text()


def test_label_files_behind_a_model_take_no_flash(model: Path, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.tflite"
    labelled.write_bytes(write_metadata(model.read_bytes(), FileMetadata(files={"labels.txt": bytes(5000)})))
    header = (package_firmware(labelled, tmp_path / "out").folder / "labelled.h").read_text()
    (size,) = re.findall(r"#define LABELLED_BYTES (\d+)u", header)
    assert model.stat().st_size <= int(size) < labelled.stat().st_size - 5000


def contents_of(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def golden_of(model: Path) -> np.ndarray[Any, Any]:
    """The outputs of the vectors in a firmware package, `[vectors, elements]`."""
    made = golden_vectors(model.read_bytes(), 4, kernels="tflite-micro" if micro_there() else "litert")
    return made.outputs[0].reshape(4, -1).astype(np.int64)


def replay(model: Path, offset: int = 0, at: int = 0, fails: bool = False) -> str:
    """A C main that answers with the golden outputs, `offset` quanta off in vector `at`; exits with the result."""
    golden = golden_of(model)
    assert golden.min() >= -128
    golden[at - 1] += np.where(golden[at - 1] > 0, -offset, offset) if at else 0
    rows = ", ".join("{" + ", ".join(map(str, row)) + "}" for row in golden)
    return f"""
#include "curve.h"
#include "curve_selftest.h"
static const int8_t golden[{len(golden)}][{golden.shape[1]}] = {{{rows}}};
static int calls = 0;
static int invoke(const void *const inputs[], const void *outputs[])
{{
    if (inputs[0] == NULL) {{ return 1; }}
    outputs[0] = golden[calls];
    ++calls;
    return {int(fails)};
}}
int main(void) {{ return curve_selftest(invoke); }}
"""


def built(package: Path, main: str, place: Path, *compiler: str) -> Path:
    source, program = place / "main.c", place / "app"
    source.write_text(main)
    sources = [source, package / "curve.c", package / "curve_selftest.c"]
    subprocess.run([*compiler, *STRICT, f"-I{package}", *sources, "-o", program], check=True)
    return program


@pytest.mark.parametrize("words", ["gcc -std=c99", "gcc -std=c11", "g++ -std=c++11 -x c++", "g++ -std=c++17 -x c++"])
def test_it_compiles_without_a_warning_and_agrees_with_itself(
    words: str, package: Path, model: Path, tmp_path: Path
) -> None:
    command, *flags = words.split()
    program = built(package, replay(model), tmp_path, tool(command), *flags)
    assert subprocess.run([program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("wrong", "result"),
    [({"offset": 1, "at": 2}, 0), ({"offset": 2, "at": 1}, 1), ({"offset": 2, "at": 3}, 3), ({"fails": True}, 1)],
)
def test_the_self_test_names_the_first_vector_that_is_more_than_a_quantum_off(
    wrong: dict[str, int], result: int, package: Path, model: Path, tmp_path: Path
) -> None:
    program = built(package, replay(model, **wrong), tmp_path, tool("gcc"), "-std=c99")
    assert subprocess.run([program], check=False).returncode == result


def test_the_array_is_the_model_and_aligned(package: Path, model: Path, tmp_path: Path) -> None:
    main = """
#include "curve.h"
#include <stdio.h>
int main(void)
{
    if (((uintptr_t)curve_data % 16u) != 0u) { return 1; }
    return fwrite(curve_data, 1u, CURVE_BYTES, stdout) == CURVE_BYTES ? 0 : 2;
}
"""
    program = built(package, main, tmp_path, tool("gcc"), "-std=c99")
    done = subprocess.run([program], capture_output=True, check=True)
    assert done.stdout == model.read_bytes()
    assert hashlib.sha256(done.stdout).hexdigest() in (package / "curve.h").read_text()


SEMIHOSTED = """
extern int selftest_main(void);
extern unsigned long stack_top[];
static void leave(unsigned long code)
{
    volatile unsigned long block[2] = {0x20026UL, code};
    register unsigned long operation __asm__("r0") = 0x20UL;
    register volatile unsigned long *argument __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : : "r"(operation), "r"(argument) : "memory");
    for (;;) { }
}
void start(void) { leave((unsigned long)selftest_main()); }
__attribute__((section(".vectors"), used)) static void (*const table[2])(void) = {(void (*)(void))stack_top, start};
"""
LAYOUT = """
ENTRY(start)
MEMORY { flash : ORIGIN = 0, LENGTH = 4M  ram : ORIGIN = 0x20000000, LENGTH = 4M }
stack_top = ORIGIN(ram) + LENGTH(ram);
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } > flash
  .bss : { *(.bss*) *(.data*) *(COMMON) } > ram
}
"""


@pytest.mark.parametrize(("wrong", "result"), [({}, 0), ({"offset": 2, "at": 3}, 3)])
def test_on_an_emulated_cortex_m3(
    wrong: dict[str, int], result: int, package: Path, model: Path, tmp_path: Path
) -> None:
    """The self-test, compiled bare, in flash at 0; its result is the exit code over semihosting."""
    compiler, emulator = tool("arm-none-eabi-gcc"), tool("qemu-system-arm")
    (tmp_path / "main.c").write_text(
        replay(model, **wrong).replace("int main(void)", "int selftest_main(void);\nint selftest_main(void)")
    )
    (tmp_path / "boot.c").write_text(SEMIHOSTED)
    (tmp_path / "layout.ld").write_text(LAYOUT)
    bare = [compiler, "-mcpu=cortex-m3", "-mthumb", "-ffreestanding", "-nostartfiles", "-O1", f"-I{package}"]
    for source in (tmp_path / "main.c", package / "curve.c", package / "curve_selftest.c"):
        subprocess.run([*bare, *STRICT, "-std=c99", "-c", source, "-o", tmp_path / f"{source.stem}.o"], check=True)
    objects = [tmp_path / f"{name}.o" for name in ("main", "curve", "curve_selftest")]
    link = [*bare, tmp_path / "boot.c", *objects, "-nostdlib", "-lgcc", "-T", tmp_path / "layout.ld"]
    subprocess.run([*link, "-o", tmp_path / "app.elf"], check=True)
    machine = [emulator, "-M", "mps2-an385", "-nographic", "-semihosting", "-kernel", tmp_path / "app.elf"]
    done = subprocess.run(machine, check=False, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == result


def test_arm_takes_the_arena_of_32_bits(package: Path) -> None:
    macros = subprocess.run(
        [tool("arm-none-eabi-gcc"), "-mcpu=cortex-m7", "-E", "-dM", package / "curve.h"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    arena = json.loads((package / "manifest.json").read_text())["arena"]
    assert f"#define CURVE_ARENA_BYTES {arena['bytes_32']}u\n" in macros
    assert arena["tensor_bytes"] < arena["bytes_32"] <= arena["bytes_64"]


def test_cmake_takes_the_folder(package: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(replay(model))
    shutil.copytree(package, tmp_path / "curve")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(firmware C)\nadd_executable(app main.c)\n"
        + _snippet(package, "cmake")
    )
    subprocess.run([tool("cmake"), "-S", tmp_path, "-B", tmp_path / "build"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", tmp_path / "build"], check=True, stdout=subprocess.DEVNULL)
    assert subprocess.run([tmp_path / "build" / "app"], check=False).returncode == 0


def test_make_takes_the_folder(package: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(replay(model))
    shutil.copytree(package, tmp_path / "curve")
    (tmp_path / "Makefile").write_text(_snippet(package, "make"))
    subprocess.run([tool("make"), "-C", tmp_path, "app"], check=True, stdout=subprocess.DEVNULL)
    assert subprocess.run([tmp_path / "app"], check=False).returncode == 0


def _snippet(package: Path, language: str) -> str:
    return _snippets(package, language)[0]


def _snippets(package: Path, language: str) -> list[str]:
    return [part.split("```")[0] for part in (package / "README.md").read_text().split(f"```{language}\n")[1:]]


@pytest.mark.parametrize("generator", ["Ninja", "Unix Makefiles"])
def test_find_package_packages_while_building(generator: str, model: Path, tmp_path: Path, edgekit_cli: Run) -> None:
    tool("cmake")
    tool({"Ninja": "ninja", "Unix Makefiles": "make"}[generator])
    shutil.copy(model, tmp_path / "curve.tflite")
    (tmp_path / "main.c").write_text(replay(model))
    (tmp_path / "edgekit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgekit "$@"\n')
    (tmp_path / "edgekit").chmod(0o755)
    (tmp_path / "CMakeLists.txt").write_text("""
cmake_minimum_required(VERSION 3.20)
project(firmware C)
find_package(edgekit REQUIRED)
add_edgekit_model(TARGET curve MODEL curve.tflite FOR cortex-m7)
add_executable(app main.c)
target_link_libraries(app PRIVATE edgekit::curve)
""")
    place = edgekit_cli("package", "--cmake-dir").stdout.strip()
    found = [f"-Dedgekit_DIR={place}", f"-DEDGEKIT_EXECUTABLE={tmp_path / 'edgekit'}"]
    build = tmp_path / "build"
    subprocess.run(["cmake", "-G", generator, "-S", tmp_path, "-B", build, *found], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", build], check=True, capture_output=True)
    assert subprocess.run([build / "app"], check=False).returncode == 0
    first = (build / "app").stat().st_mtime_ns
    os.utime(tmp_path / "curve.tflite")
    again = subprocess.run(["cmake", "--build", build], check=True, capture_output=True, text=True)
    assert "Packaging the model" in again.stdout
    assert (build / "app").stat().st_mtime_ns == first
    last = subprocess.run(["cmake", "--build", build], check=True, capture_output=True, text=True)
    assert "Packaging the model" not in last.stdout


def test_a_second_build_writes_nothing_and_loads_little(model: Path, tmp_path: Path, edgekit_cli: Run) -> None:
    words = ("package", model, "--for", "firmware", "-o", "out", "--depfile", "out.d", "-t", "cortex-m7")
    assert edgekit_cli(*words).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    time.sleep(0.01)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "edgekit", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "nothing to do" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"numpy", "jinja2", "tensorflow", "tflite", "edgekit.tflite.inspect"}


def test_same_inputs_give_the_same_bytes_wherever_they_lie(model: Path, package: Path, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    elsewhere = tmp_path / "a b" / "curve.tflite"
    shutil.copy(model, elsewhere)
    made = package_firmware(elsewhere, tmp_path / "a b" / "out", target="cortex-m7")
    assert contents_of(made.folder) == contents_of(package)
    assert str(tmp_path) not in (made.folder / "manifest.json").read_text()


def test_what_was_damaged_is_mended_and_what_is_no_longer_made_is_removed(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    package_firmware(model, out, name="first")
    whole = contents_of(out)
    (out / "first.h").write_text("edited")
    assert package_firmware(model, out, name="first").written == ("first.h",)
    assert contents_of(out) == whole
    package_firmware(model, out, name="second")
    assert not [path.name for path in out.iterdir() if path.name.startswith("first")]


def test_an_interrupted_build_is_made_good_by_the_next(
    model: Path, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = folder.write_if_changed, []

    def interrupted(path: Path, data: bytes) -> bool:
        written.append(path)
        if len(written) == 4:
            raise KeyboardInterrupt
        return write(path, data)

    monkeypatch.setattr(folder, "write_if_changed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        package_firmware(model, tmp_path / "out", target="cortex-m7")
    monkeypatch.undo()
    assert package_firmware(model, tmp_path / "out", target="cortex-m7").written
    assert contents_of(tmp_path / "out") == contents_of(package)


def test_two_builds_of_one_folder_at_once(model: Path, tmp_path: Path, edgekit_cli: Run) -> None:
    words = ("package", model, "--for", "firmware", "-o", tmp_path / "out")
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: edgekit_cli(*words, cwd=tmp_path), range(2)))
    assert [one.returncode for one in done] == [0, 0]
    assert sorted("nothing to do" in one.stdout for one in done) == [False, True]
    assert package_firmware(model, tmp_path / "out").written == ()


def test_a_folder_of_someone_else_is_left_alone(model: Path, tmp_path: Path) -> None:
    (tmp_path / "precious.c").write_text("int x;")
    with pytest.raises(OutputError, match=r"precious\.c"):
        package_firmware(model, tmp_path)
    assert contents_of(tmp_path) == {"precious.c": b"int x;"}


def test_a_broken_budget_is_refused_unless_forced(model: Path, tmp_path: Path) -> None:
    board = tmp_path / "board.toml"
    board.write_text(
        'extends = "cortex-m7"\nname = "board"\ntitle = "Board"\n[budget]\nfile_bytes = 100\n[sources]\nbudget = "us"\n'
    )
    out = tmp_path / "out"
    with pytest.raises(GateError, match="board"):
        package_firmware(model, out, target=board)
    assert not contents_of(out)
    made = package_firmware(model, out, target=board, force=True)
    assert len(made.forced) == 1
    assert made.inputs == (model, board)


@pytest.fixture
def tight(tmp_path: Path) -> Path:
    """A board with room for the 64 bytes of the model's tensors, but not for the interpreter's structures on top."""
    board = tmp_path / "board.toml"
    budget = '[budget]\narena_bytes = 256\n[sources]\nbudget = "us"\n'
    board.write_text(f'extends = "cortex-m7"\nname = "board"\ntitle = "Board"\n{budget}')
    return board


@needs_micro
def test_an_arena_above_the_budget_is_refused_unless_forced(model: Path, tight: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(GateError, match=r"arena of curve is .* \(recorded\), and the budget of board is") as refused:
        package_firmware(model, out, target=tight)
    assert refused.value.mend == "a smaller input or fewer channels; or --force"
    assert not contents_of(out)
    made = package_firmware(model, out, target=tight, force=True)
    assert not made.forced
    assert any("the arena of curve is" in notice for notice in made.notices)


def test_a_planned_arena_above_the_budget_is_told(
    model: Path, tight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is more than the arena takes."""
    monkeypatch.setattr(firmware_files, "find_arena", lambda _, found: firmware_files.planned_arena(found))
    made = package_firmware(model, tmp_path / "out", target=tight)
    (told,) = (notice for notice in made.notices if "the arena of curve is" in notice)
    assert "(planned), and the budget of board is 256 B" in told


def _of_litert(model: Path, path: Path, **changes: Any) -> Path:
    """Vectors that the user brings along; the inputs are 2 random ones."""
    replace(golden_vectors(model.read_bytes(), 2, seed=7), **changes).save(path)
    return path


@needs_micro
def test_vectors_of_the_user_are_run_again_where_firmware_is_held_against_them(model: Path, tmp_path: Path) -> None:
    made_here = golden_vectors(model.read_bytes(), 2, seed=7)
    outputs = tuple(map(np.zeros_like, made_here.outputs))
    head = structs.replace(made_here.head, data="mine.npz", seed=None)
    changes: list[dict[str, Any]] = [{}, {"outputs": outputs}, {"head": head}]
    made = [
        package_firmware(model, tmp_path / str(place), vectors=[_of_litert(model, tmp_path / f"{place}.npz", **told)])
        for place, told in enumerate(changes)
    ]
    assert len({(one.folder / "curve_selftest.c").read_bytes() for one in made}) == 1
    golden = [one.manifest["variants"][0]["golden"] for one in made]
    assert [one["data"] for one in golden] == [None, None, "mine.npz"]
    assert all(one["samples"] == 2 and one["runtime"].startswith("tflite-micro") for one in golden)
    assert not any("may differ" in notice for one in made for notice in one.notices)


def test_vectors_of_another_runtime_are_told(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "micro_there", lambda: False)
    made = package_firmware(model, tmp_path / "out", vectors=[_of_litert(model, tmp_path / "v.npz")])
    assert any("TensorFlow Lite Micro may differ from ai-edge-litert" in notice for notice in made.notices)


def _streaming(path: Path) -> Path:
    """x, what two variables kept of it, and the sum of all; one of them is named by two handles."""
    toy = Toy()
    x, one, both = (toy.tensor([1, 8]) for _ in range(3))
    kept = {}
    for number, name in enumerate(("near", "far", "near")):
        kept[number] = toy.tensor([1], "resource")
        toy.operator("VAR_HANDLE", [], [kept[number]], "VarHandleOptions", container="", sharedName=name)
    for before, after, handle in ((x, one, kept[0]), (one, both, kept[1])):
        read = toy.tensor([1, 8])
        toy.operator("READ_VARIABLE", [handle], [read])
        toy.operator("ADD", [before, read], [after], "AddOptions")
    for handle in (kept[2], kept[1]):
        toy.operator("ASSIGN_VARIABLE", [handle, x], [])
    path.write_bytes(toy.bytes([x], [both]))
    return path


@needs_micro
def test_resource_variables_are_given_to_the_interpreter(package: Path, tmp_path: Path) -> None:
    out = package_firmware(_streaming(tmp_path / "keeps.tflite"), tmp_path / "out").folder
    assert "#define KEEPS_RESOURCE_VARIABLES 2\n" in (out / "keeps.h").read_text()
    told = (out / "README.md").read_text()
    assert '#include "tensorflow/lite/micro/micro_resource_variable.h"\n' in told
    assert "tflite::MicroResourceVariables::Create(allocator, KEEPS_RESOURCE_VARIABLES);\n" in told
    assert "made(tflite::GetModel(keeps_data), resolver, allocator, variables);\n" in told
    assert "RESOURCE" not in (package / "README.md").read_text() + (package / "curve.h").read_text()


def test_the_readme_repeats_the_options(model: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(f"word {place}" for place in range(32)))
    made = package_firmware(
        model,
        tmp_path / "out",
        name="curve",
        version="2.0",
        licence="1 $ #",
        target="cortex-m7",
        labels=tmp_path / "names.txt",
        constants={"alarm": 0.7},
        force=True,
    )
    (line,) = (one for one in _snippets(made.folder, "make")[1].splitlines() if one.startswith("OPTIONS"))
    plain = "--target cortex-m7 --labels labels.txt --constant alarm=0.7 --force"
    assert line == rf"OPTIONS := --package-version 2.0 --licence '1 $$ \#' {plain}"


def test_the_depfile_is_a_rule_that_make_follows(model: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a b#$c" / "m.tflite"
    odd.parent.mkdir()
    shutil.copy(model, odd)
    made = package_firmware(odd, tmp_path / "out")
    write_depfile(tmp_path / "m.d", made)
    (tmp_path / "Makefile").write_text(f"include m.d\n{tmp_path}/out/m.c:\n\t@echo again\n")

    def says() -> str:
        command = [tool("make"), "-s", "-C", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "again" not in says()
    os.utime(odd, (time.time() + 60,) * 2)
    assert "again" in says()


def test_a_name_that_is_none_in_c_is_changed_with_a_notice(model: Path, tmp_path: Path, edgekit_cli: Run) -> None:
    done = edgekit_cli("package", model, "--for", "firmware", "-o", "out", "--name", "2nd-key word", "--json")
    assert done.returncode == 0
    assert "model_2nd_key_word" in done.stderr
    assert json.loads(done.stdout)["name"] == "model_2nd_key_word"
    assert (tmp_path / "out" / "model_2nd_key_word.c").is_file()


def test_an_operator_without_a_kernel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny_models.wide((2, 2)))
    with pytest.raises(ModelError, match="TILE"):
        package_firmware(path, tmp_path / "out", force=True)
    assert not contents_of(tmp_path / "out")


def test_a_custom_operator_is_handed_in_and_there_is_no_self_test(tmp_path: Path) -> None:
    graph = tiny_models.Graph()
    x, y = graph.tensor('x */ "', (1, 4)), graph.tensor("y", (1, 4))
    graph.operator(tiny_models.CUSTOM, [x], [y], 'My"Op')
    path = tmp_path / "m.tflite"
    path.write_bytes(graph.bytes([x], [y]))
    out = package_firmware(path, tmp_path / "out").folder
    assert 'resolver.AddCustom("My\\"Op", My_Op_kernel)' in (out / "m_ops.h").read_text()
    assert "m_selftest(" not in "".join(data.decode() for data in contents_of(out).values())
    for file in ("m.c", "m_selftest.c"):
        subprocess.run([tool("gcc"), "-std=c99", *STRICT, "-c", out / file, "-o", tmp_path / "m.o"], check=True)


def test_an_artifact_folder_gives_labels_and_recipe(model: Path, tmp_path: Path) -> None:
    place = artifact(tmp_path / "artifact", model.read_bytes(), LABELS)
    made = package_firmware(place, tmp_path / "out", name="curve")
    assert made.manifest["variants"][0]["recipe"]["name"] == "int8"
    assert '    "z\\303\\251ro\\077\\077/",\n    "o\\"ne",\n' in (made.folder / "curve.c").read_text()
    subprocess.run(
        [tool("gcc"), "-std=c99", *STRICT, "-c", made.folder / "curve.c", "-o", tmp_path / "m.o"], check=True
    )
    (place / "zoo.tflite").write_bytes(b"other")
    with pytest.raises(ModelError, match="changed"):
        package_firmware(place, tmp_path / "out")


def test_constants_are_macros_of_the_header(model: Path, tmp_path: Path) -> None:
    numbers = {"threshold": -0.1, "hop_size": 128, "large": 3e30}
    made = package_firmware(model, tmp_path / "made", name="curve", constants=numbers)
    main = """
#include "curve.h"
int main(void)
{
    const int small = 0.5f - CURVE_CONSTANT_THRESHOLD > 0.59f;
    return !(small && CURVE_CONSTANT_HOP_SIZE == 128.0f && CURVE_CONSTANT_LARGE > 2e30f);
}
"""
    program = built(made.folder, main, tmp_path, tool("gcc"), "-std=c99")
    assert subprocess.run([program], check=False).returncode == 0
    assert json.loads((made.folder / "manifest.json").read_text())["constants"] == numbers
    again = package_firmware(model, tmp_path / "made", name="curve", constants={**numbers, "threshold": 0.2})
    assert "curve.h" in again.written


@pytest.mark.parametrize(
    ("constants", "said"),
    [
        *(({name: 1.0}, "small letters") for name in ("Upper", "a__b", "")),
        *(({"x": value}, "32 bits") for value in (float("nan"), 1e39, 1e-40)),
    ],
)
def test_a_constant_that_c_could_not_have_is_refused(
    constants: dict[str, float], said: str, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        package_firmware(model, tmp_path / "made", constants=constants)


def test_a_constant_is_a_name_and_a_number(model: Path, tmp_path: Path, edgekit_cli: Run) -> None:
    words = ("package", model, "--for", "firmware", "-o", tmp_path / "made", "--name", "curve")
    assert edgekit_cli(*words, "--constant", "threshold=0.5").returncode == 0
    assert "#define CURVE_CONSTANT_THRESHOLD (0.5f)" in (tmp_path / "made" / "curve.h").read_text()
    for wrong in (("threshold",), ("threshold=high",), ("threshold=1", "--constant", "threshold=2")):
        done = edgekit_cli(*words, "--constant", *wrong)
        assert done.returncode == 2, wrong
        assert "threshold" in done.stderr
