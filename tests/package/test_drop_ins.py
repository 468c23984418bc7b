"""The folder as Zephyr, ESP-IDF, PlatformIO and Arduino take it: their files are read as each of them reads its own.

Zephyr and ESP-IDF are not here. What their build files call is defined as their documentation says of it, in a project
that a real CMake builds; the readers of Kconfig and of library manifests are the makers' own, where they are installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = """
#include "curve.h"
#include "curve_selftest.h"
int main(void) { return (curve_data[0] == 0u) && (curve_selftest != 0); }
"""
ZEPHYR = """
cmake_minimum_required(VERSION 3.20)
project(firmware C)
add_library(zephyr_interface INTERFACE)
function(zephyr_library_named name)
  add_library(${name} STATIC)
  set(ZEPHYR_CURRENT_LIBRARY ${name} PARENT_SCOPE)
  set_property(GLOBAL APPEND PROPERTY ZEPHYR_LIBS ${name})
endfunction()
function(zephyr_library_sources)
  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
  target_link_libraries(${ZEPHYR_CURRENT_LIBRARY} PRIVATE zephyr_interface)
endfunction()
function(zephyr_include_directories)
  target_include_directories(zephyr_interface INTERFACE ${ARGN})
endfunction()
set(CONFIG_EDGEKIT_CURVE CHOICE)
add_subdirectory(curve/zephyr module)
get_property(libraries GLOBAL PROPERTY ZEPHYR_LIBS)
file(WRITE ${CMAKE_BINARY_DIR}/libraries "${libraries}")
if(libraries)
  add_executable(app main.c)
  target_link_libraries(app PRIVATE zephyr_interface ${libraries})
endif()
"""
ESP_IDF = """
cmake_minimum_required(VERSION 3.20)
project(firmware C)
set(ESP_PLATFORM 1)
function(idf_component_register)
  cmake_parse_arguments(ARG "" "" "SRCS;INCLUDE_DIRS" ${ARGN})
  add_library(component STATIC ${ARG_SRCS})
  target_include_directories(component PUBLIC ${ARG_INCLUDE_DIRS})
endfunction()
add_subdirectory(curve)
add_executable(app main.c)
target_link_libraries(app PRIVATE component)
"""


def built(package: Path, place: Path, lists: str) -> Path:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    shutil.copytree(package, place / "curve")
    (place / "CMakeLists.txt").write_text(lists)
    (place / "main.c").write_text(MAIN)
    for words in (["-S", place, "-B", place / "build"], ["--build", place / "build"]):
        done = subprocess.run(["cmake", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return place / "build"


def test_zephyr_links_it_where_it_is_chosen(package: Path, tmp_path: Path) -> None:
    build = built(package, tmp_path, ZEPHYR.replace("CHOICE", "y"))
    assert (build / "libraries").read_text() == "edgekit_curve"
    assert subprocess.run([build / "app"], check=False).returncode == 0


def test_zephyr_leaves_it_out_where_it_is_not_chosen(package: Path, tmp_path: Path) -> None:
    assert (built(package, tmp_path, ZEPHYR.replace("CHOICE", "")) / "libraries").read_text() == ""


def test_esp_idf_registers_it_as_a_component(package: Path, tmp_path: Path) -> None:
    assert subprocess.run([built(package, tmp_path, ESP_IDF) / "app"], check=False).returncode == 0


def test_the_module_names_files_that_are_there(package: Path) -> None:
    lines = (package / "zephyr" / "module.yml").read_text().splitlines()
    assert lines == ["name: edgekit_curve", "build:", "  cmake: zephyr", "  kconfig: zephyr/Kconfig"]
    assert (package / "zephyr" / "CMakeLists.txt").is_file()
    assert (package / "zephyr" / "Kconfig").is_file()


def test_kconfig_reads_the_choice(package: Path, tmp_path: Path) -> None:
    kconfiglib = pytest.importorskip("kconfiglib", reason="kconfiglib is not installed")
    (tmp_path / "Kconfig").write_text(f'mainmenu "top"\nsource "{package / "zephyr" / "Kconfig"}"\n')
    found = kconfiglib.Kconfig(str(tmp_path / "Kconfig"))
    assert found.syms["EDGEKIT_CURVE"].str_value == "y"
    assert not found.warnings


@pytest.mark.parametrize("name", ["library.json", "library.properties"])
def test_platformio_reads_the_manifests(name: str, package: Path) -> None:
    pytest.importorskip("platformio", reason="platformio is not installed")
    code = f"""
from platformio.package.manifest.parser import ManifestParserFactory
from platformio.package.manifest.schema import ManifestSchema
print(ManifestSchema().load_manifest(ManifestParserFactory.new_from_file({str(package / name)!r}).as_dict())["version"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2.1")


def test_arduino_finds_what_its_specification_asks_for(package: Path) -> None:
    """https://arduino.github.io/arduino-cli/latest/library-specification/#libraryproperties-file-format"""
    pairs = dict(line.split("=", 1) for line in (package / "library.properties").read_text().splitlines())
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert required <= pairs.keys()
    assert (pairs["category"], pairs["version"]) == ("Data Processing", "2.1")
    assert (package / pairs["includes"]).is_file()
    assert all(pairs[key] for key in required)
