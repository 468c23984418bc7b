"""Maps of real linkers: every byte that `size` counts is in one part, and the parts are what they are called."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import GateError, InputError
from edgekit.package.firmware_size import Part, firmware_size, refuse_over
from edgekit.package.link_map import Memory, read_link_map

MAPS = Path(__file__).parent / "link_maps"
ARM = ["-mcpu=cortex-m4", "-mthumb", "-Os", "-ffreestanding", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"]
SPLIT = ["-ffunction-sections", "-fdata-sections"]
Run = Callable[..., subprocess.CompletedProcess[str]]


def linked(package: Path, place: Path, compiling: list[str], linking: list[str]) -> Path:
    """An app.elf with its app.map, made by the cross compiler; the library is an archive."""
    if shutil.which("arm-none-eabi-g++") is None:
        pytest.skip("arm-none-eabi-g++ is not installed")
    if not Path(said("arm-none-eabi-g++", "-print-file-name=libstdc++.a")[0][0]).is_absolute():
        pytest.skip("arm-none-eabi-g++ has no library (Debian: libstdc++-arm-none-eabi-newlib)")
    library = place / "tensorflow" / "micro.o"
    library.parent.mkdir()
    sources = {
        place / "main.o": MAPS / "firmware.cc",
        place / "curve.c.obj": package / "curve.c",
        place / "curve_selftest.c.obj": package / "curve_selftest.c",
        library: MAPS / "library.cc",
    }
    for made, source in sources.items():
        compiler = f"arm-none-eabi-{'g++' if source.suffix == '.cc' else 'gcc'}"
        flags = [one for one in ARM if source.suffix == ".cc" or not one.startswith("-fno-")]
        subprocess.run([compiler, *flags, *compiling, f"-I{package}", "-c", source, "-o", made], check=True)
    subprocess.run(["arm-none-eabi-ar", "rcs", "libtflm.a", library.relative_to(place)], cwd=place, check=True)
    objects = ["main.o", "curve.c.obj", "curve_selftest.c.obj", "libtflm.a"]
    words = ["arm-none-eabi-g++", *ARM, *compiling, *objects, *linking, "-Wl,-Map=app.map", "-o", "app.elf"]
    subprocess.run(words, cwd=place, check=True, capture_output=True)
    return place / "app.elf"


REGIONS = ["-nostartfiles", "-nostdlib", f"-T{MAPS / 'regions.ld'}"]
SIZES = {
    "gnu-ld-2.40.map": {"flash": 1300 + 28, "ram": 28 + 2572},
    "lld-14.map": {"flash": 1304 + 28, "ram": 1568 + 1032},
}
"""What `arm-none-eabi-size` said; lld's heap and stack are data to it, of which the image has nothing."""
BUILDS = {
    "sections, garbage collected": (SPLIT, [*REGIONS, "-Wl,--gc-sections"]),
    "debug information": (["-g", *SPLIT], REGIONS),
    "one section an object": ([], REGIONS),
    "link-time optimization": (["-flto", *SPLIT], REGIONS),
    "no regions, newlib": (SPLIT, ["--specs=nosys.specs"]),
}


@pytest.fixture(scope="module", params=BUILDS)
def elf(request: pytest.FixtureRequest, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linked(package, tmp_path_factory.mktemp("build"), *BUILDS[request.param])


def said(*words: object) -> list[list[str]]:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True)
    return [line.split() for line in done.stdout.splitlines()]


def test_each_section_is_as_large_as_size_and_readelf_say(elf: Path) -> None:
    found = {one.name: (one.size, one.address) for one in read_link_map(elf.with_name("app.map")).sections}
    sizes = {
        row[0]: (int(row[1]), int(row[2]))
        for row in said("arm-none-eabi-size", "-A", elf)
        if row[-1:] and row[-1].isdigit() and len(row) == 3
    }
    loaded = {row[1] for row in _headers(elf) if "A" in row[7]}
    assert found == {name: facts for name, facts in sizes.items() if name in loaded and facts[0]}
    assert ".text" in found


def _headers(elf: Path) -> list[list[str]]:
    """Rows of `readelf -S` as number, name, type, address, offset, size, entry size, flags."""
    done = subprocess.run(["arm-none-eabi-readelf", "-SW", elf], capture_output=True, text=True, check=True)
    rows = [line.split("]", 1)[1].split() for line in done.stdout.splitlines() if line.lstrip().startswith("[")]
    return [["", *row] for row in rows if len(row) == 10]


def test_every_byte_is_in_one_part(elf: Path, package: Path) -> None:
    found = read_link_map(elf.with_name("app.map"))
    size = firmware_size(found, [package])
    assert all(sum(piece.size for piece in one.pieces) == one.size for one in found.sections)
    for kind in ("flash", "ram"):
        used = sum(one.used_bytes for one in size.regions if one.kind == kind)
        assert used == sum(getattr(part, f"{kind}_bytes") for part in size.parts) == sum(size.used(kind).values())
    assert size.outside == ()


def test_flash_and_ram_are_those_of_size(elf: Path, package: Path) -> None:
    """Berkeley: text is what cannot be written, data what has first values, bss the rest."""
    found = read_link_map(elf.with_name("app.map"))
    if not found.memories:
        pytest.skip("a linker script for a simulator has all in one memory")
    text, data, bss = map(int, said("arm-none-eabi-size", elf)[1][:3])
    size = firmware_size(found, [package])
    assert (sum(size.used("flash").values()), sum(size.used("ram").values())) == (text + data, data + bss)


def test_the_parts_are_the_symbols_of_the_elf(package: Path, tmp_path: Path) -> None:
    elf = linked(package, tmp_path, *BUILDS["sections, garbage collected"])
    symbols = {row[3]: int(row[1], 16) for row in said("arm-none-eabi-nm", "-SC", elf) if len(row) == 4}
    parts = {one.name: one for one in firmware_size(read_link_map(tmp_path / "app.map"), [package]).parts}
    selftest = sum(symbols[name] for name in ("curve_selftest", "input_0", "output_0"))
    assert parts["curve: model"] == Part("curve: model", symbols["curve_data"], 0)
    assert parts["curve: self-test"] == Part("curve: self-test", selftest, 0)
    assert parts["arena"].ram_bytes == json.loads((package / "manifest.json").read_text())["arena"]["bytes_32"]
    assert parts["operator resolver"].ram_bytes == symbols["resolver"]
    assert parts["heap and stack"].ram_bytes >= 0x600
    assert parts["TensorFlow Lite Micro"].ram_bytes == 4 + 4 + 32
    assert parts["the rest"].flash_bytes > 0


@pytest.mark.parametrize("name", ["gnu-ld-2.40.map", "lld-14.map"])
def test_a_committed_map_of_each_linker(name: str, package: Path) -> None:
    """The same objects by both linkers; lld's map has no regions."""
    found = read_link_map(MAPS / name)
    size = firmware_size(found, [package])
    parts = {one.name: (one.flash_bytes, one.ram_bytes) for one in size.parts}
    assert parts["curve: model"] == (392, 0)
    assert parts["curve: self-test"] == (360, 0)
    assert parts["arena"] == (0, 960)
    assert parts["operator resolver"] == (0, 12)
    assert found.memories[2:] == ((Memory("CCM", 0x10000000, 0x10000, "xrw"),) if name.startswith("gnu") else ())
    totals = {kind: sum(size.used(kind).values()) for kind in ("flash", "ram")}
    assert totals == SIZES[name]


def test_merged_strings_are_counted_once(tmp_path: Path) -> None:
    """A size that is left over from before the merge neither counts nor takes from what follows."""
    path = tmp_path / "app.map"
    path.write_text(
        "Linker script and memory map\n\n.rodata         0x00000100       0x30\n"
        " .rodata.str1.1 0x00000100       0x18 a.o\n                                 0x1c (size before relaxing)\n"
        " .rodata.str1.1 0x00000118        0xa b.o\n .rodata.table   0x00000118       0x10 b.o\n"
        " .rodata.str1.1 0x00000128       0x40 c.o\n"
    )
    (section,) = read_link_map(path).sections
    assert [(one.section, one.object, one.size) for one in section.pieces] == [
        (".rodata.str1.1", "a.o", 24),
        (".rodata.table", "b.o", 16),
        (".rodata.str1.1", "c.o", 8),
    ]


def test_flash_that_is_seen_through_a_window_is_counted_where_it_lies(tmp_path: Path) -> None:
    """As on an ESP32: code runs from one region, lies in another, and some of it is copied to RAM at the start."""
    path = tmp_path / "app.map"
    path.write_text(
        "Memory Configuration\n\nName Origin Length Attributes\n"
        "ROM 0x0 0x1000 r\niram0_0_seg 0x4000 0x1000 xr\nirom0_0_seg 0x8000 0x1000 xr\ndram0_0_seg 0xc000 0x1000 rw\n"
        "\nLinker script and memory map\n\n"
        ".flash.text     0x00008020       0x80 load address 0x00000300\n .text.a        0x00008020       0x80 a.o\n"
        ".iram0.text     0x00004000       0x40 load address 0x00000200\n .iram1         0x00004000       0x40 a.o\n"
        "k_heap_area     0x0000c000       0x28 load address 0x00000280\n ._k_heap_area.static.x\n"
        "                0x0000c000       0x28 a.o\n"
        "noinit          0x0000c100       0x10 load address 0x00000380\n .noinit.b      0x0000c100       0x10 a.o\n"
        "elsewhere       0x00100000       0x10\n .elsewhere     0x00100000       0x10 a.o\n"
    )
    size = firmware_size(read_link_map(path))
    assert {one.name: (one.kind, one.used_bytes) for one in size.regions} == {
        "ROM": ("flash", 0x80 + 0x40 + 0x28),
        "iram0_0_seg": ("ram", 0x40),
        "irom0_0_seg": ("flash", 0),
        "dram0_0_seg": ("ram", 0x28 + 0x10),
    }
    assert size.outside == ("elsewhere",)


def test_over_budget_is_a_gate_that_names_the_greatest_parts(package: Path, edgekit_cli: Run) -> None:
    path = MAPS / "gnu-ld-2.40.map"
    size = firmware_size(read_link_map(path), [package])
    ram = sum(size.used("ram").values())
    refuse_over(size, {"ram": ram, "flash": 2**20, "CCM": 4})
    with pytest.raises(GateError, match=r"ram .* \(heap and stack 1\.50 KiB, arena 960 B, "):
        refuse_over(size, {"ram": ram - 1})
    words = ("firmware", "size", "--map", path, "--package", package)
    done = edgekit_cli(*words, "--budget", "flash=1K,CCM=2", "--json")
    assert (done.returncode, "flash" in done.stderr, "CCM 4 B of 2 B" in done.stderr) == (1, True, True)
    assert json.loads(done.stdout)["budgets"] == {"flash": 1024, "CCM": 2}
    assert edgekit_cli(*words, "--budget", "flash=256K", "--budget", "ram=64K").returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--budget", "flsh=1K"], "did you mean 'flash'?"),
        (["--budget", "flash=1K,flash=2K"], "given twice"),
        (["--budget", "flash=many"], "is no size"),
        (["--budget", "flash"], "write flash=256K or ram=64K"),
        (["--region", "CCM=disk"], "NAME=flash"),
    ],
)
def test_wrong_words_are_told(words: list[str], told: str, edgekit_cli: Run) -> None:
    done = edgekit_cli("firmware", "size", "--map", MAPS / "gnu-ld-2.40.map", *words)
    assert (done.returncode, told in done.stderr) == (2, True)


def test_a_region_can_be_called_flash_and_an_arena_named(package: Path) -> None:
    found = read_link_map(MAPS / "gnu-ld-2.40.map")
    kinds = {one.name: one.kind for one in firmware_size(found, kinds={"CCM": "flash"}).regions}
    assert kinds == {"FLASH": "flash", "RAM": "ram", "CCM": "flash"}
    parts = {one.name: one.ram_bytes for one in firmware_size(found, [package], ["zeroed"]).parts}
    assert parts["arena"] == 12
    with pytest.raises(InputError, match="did you mean 'CCM'"):
        firmware_size(found, kinds={"CCN": "flash"})


def test_what_is_no_map_and_no_package_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "app.map"
    path.write_text("Section Cross References\n")
    with pytest.raises(InputError, match=r"app\.map"):
        read_link_map(path)
    path.write_text("Linker script and memory map\n\nLOAD a.o\n")
    with pytest.raises(InputError, match="without sections"):
        read_link_map(path)
    with pytest.raises(InputError, match="No such file"):
        read_link_map(tmp_path / "none.map")
    with pytest.raises(InputError, match="no firmware package"):
        firmware_size(read_link_map(MAPS / "lld-14.map"), [tmp_path])


def test_a_model_that_is_not_linked_is_said(tmp_path: Path, package: Path, edgekit_cli: Run) -> None:
    other = tmp_path / "other"
    shutil.copytree(package, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "identifier": "other"}))
    done = edgekit_cli("firmware", "size", "--map", MAPS / "lld-14.map", "--package", other, "--arena", "none")
    assert done.returncode == 0
    assert "nothing of other" in done.stderr
    assert "no arena was seen" in done.stderr
