"""Targets: shipped files are sound and cited, faulty ones are refused with their place, the README names all keys."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from edgekit.cli.targets import command as targets_command
from edgekit.errors import GateError, TargetError
from edgekit.operators import OperatorTable, Rule, load_table
from edgekit.recipe import Recipe
from edgekit.target import TABLES as PARTS
from edgekit.target import Target, load_target, target_names
from edgekit.target_template import keys
from edgekit.tflite.flatbuffer import operator_names

ROOT = Path(__file__).parents[1]
INVALID = Path(__file__).parent / "invalid_targets"
TABLES = ("litert", "edgetpu", "tflite-micro")

# fault (the file's name) -> what the message has to say
FAULTS = {
    "bad-name": ":1: name",
    "cache-without-accelerator": "accelerator: memory.accelerator_cache_bytes: runtime.delegates names no accelerator",
    "gpu-table-without-its-delegate": "accelerator: operators.table is 'gpu', and runtime.delegates has xnnpack",
    "edge-tpu-with-open-shapes": "accelerator: numerics.static_shapes",
    "edge-tpu-without-its-table": "accelerator: operators.table is 'tflite-micro', and runtime.delegates has edgetpu",
    "extends-a-broken-file": "missing-key.toml:1: missing key 'title'",
    "extends-a-number": ":1: extends",
    "extends-an-extension": "extension.toml itself extends 'raspberry-pi-4'",
    "extends-and-changes-without-source": "no source for memory.ram_bytes, which differs from 'raspberry-pi-4'",
    "extends-in-a-circle": "a target cannot extend itself",
    "extends-itself": "a target cannot extend itself",
    "extends-missing-file": "none.toml",
    "extends-unknown": "extends: unknown target 'raspberry-pi-44'",
    "extends-with-a-word-for-a-table": ":4: memory",
    "extends-with-a-word-for-sources": ":4: sources",
    "extends-with-unknown-key": ":6: unknown key 'ram_byte'",
    "extends-without-name": "missing key 'name'",
    "extends-without-title": "missing key 'title'",
    "io-of-no-scheme": "io: numerics.io: int8 does not go with the scheme 'float32'",
    "scheme-named-twice": "distinct: numerics.schemes: 'int8' is named twice",
    "table-of-another-runtime": "runtime: operators.table: 'litert'",
    "bad-recommended": "numerics.recommended: unknown recipe 'int9'",
    "budget-over-flash": "budget.file_bytes is larger than memory.flash_bytes",
    "empty": "missing key 'name'",
    "empty-source": "no source for memory.ram_bytes",
    "fallback-to-itself": "operators.fallback",
    "future-format": ":3: format_version",
    "missing-key": "missing key 'title'",
    "missing-table": "missing key 'runtime'",
    "negative-ram": ":10: memory.ram_bytes",
    "no-schemes": ":17: numerics.schemes",
    "not-text": "not a text file",
    "not-toml": "line 2",
    "recommended-not-runnable": "numerics.recommended: target 'my-board' cannot run 'float16'",
    "source-of-nothing": "unknown key 'memory.rom_bytes'",
    "uncited-claim": "no source for memory.ram_bytes",
    "unknown-family": ":3: family",
    "unknown-key": ":10: unknown key 'ram_byte'",
    "unknown-operator-table": ":22: operators.table",
    "unknown-scheme": ":17: numerics.schemes",
    "unknown-table": ":9: unknown key 'memry'",
    "wrong-type": ":10: memory.ram_bytes",
}


def test_every_faulty_file_has_its_expectation() -> None:
    assert {path.stem for path in INVALID.glob("*.toml")} == FAULTS.keys()


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_faulty_file_is_refused_with_its_place(fault: str) -> None:
    with pytest.raises(TargetError) as caught:
        load_target(INVALID / f"{fault}.toml")
    assert str(INVALID / f"{fault}.toml") in caught.value.problem
    assert FAULTS[fault] in caught.value.problem
    assert caught.value.mend


def test_misspelled_key_is_answered_with_the_right_one() -> None:
    with pytest.raises(TargetError) as caught:
        load_target(INVALID / "unknown-key.toml")
    assert "did you mean 'ram_bytes'?" in caught.value.mend


@pytest.mark.parametrize("name", target_names())
def test_shipped_target_is_named_cited_and_runs_its_recipe(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    resolved = Recipe.parse(target.numerics.recommended).resolve(target)
    assert resolved.quantize.scheme in target.numerics.schemes
    assert resolved.quantize.io in target.numerics.io
    for claim, _ in target.claims():
        assert target.source_of(claim), claim


@pytest.mark.parametrize("name", [name for name in target_names() if name != "host"])
def test_facts_about_boards_name_an_address(name: str) -> None:
    target = load_target(name)
    choices = {"numerics.channel_multiple", "numerics.engine"}
    for claim, _ in target.claims():
        assert "https://" in target.source_of(claim) or claim in choices, claim


def test_the_boards_of_the_documentation_are_shipped() -> None:
    boards = {"raspberry-pi-zero-2-w", "raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5", "host"}
    boards |= {"coral-usb", "coral-dev-board", "coral-dev-board-mini", "coral-dev-board-micro"}
    boards |= {"raspberry-pi-pico", "raspberry-pi-pico-2", "stm32h743", "esp32"}
    boards |= {"android-arm64", "android-gpu", "android-nnapi", "cortex-m4", "cortex-m7", "cortex-m55", "esp32-s3"}
    assert set(target_names()) == boards


def test_the_memory_of_a_microcontroller_is_one_piece() -> None:
    assert load_target("esp32").memory.ram_bytes == 160 * 1024
    assert load_target("stm32h743").memory.ram_bytes == 512 * 1024


def test_every_scheme_of_every_target_resolves() -> None:
    for target in map(load_target, target_names()):
        for scheme in target.numerics.schemes:
            assert Recipe.parse(scheme).resolve(target).quantize.scheme == scheme


def test_edge_tpu_takes_eight_bits_and_nothing_else() -> None:
    for name in ("coral-usb", "coral-dev-board", "coral-dev-board-mini", "coral-dev-board-micro"):
        numerics = load_target(name).numerics
        assert numerics.schemes == ("int8",)
        assert numerics.static_shapes
        assert Recipe.parse("int8").resolve(load_target(name)).quantize.io == "uint8"


def test_microcontrollers_get_one_scale_for_dense_weights() -> None:
    for target in map(load_target, target_names()):
        if target.family == "microcontroller":
            quantize = Recipe.parse("int8").resolve(target).quantize
            assert (quantize.dense_granularity, quantize.io) == ("per-tensor", "int8")


@pytest.mark.parametrize("name", TABLES)
def test_operator_tables_use_names_of_the_schema(name: str) -> None:
    table = load_table(name)  # type: ignore[arg-type]
    assert table.name == name
    assert "https://" in table.source
    assert table.everything or table.operators
    assert table.operators.keys() <= set(operator_names().values())


def test_rules_of_the_edge_tpu_name_their_own_source_where_they_have_one() -> None:
    table = load_table("edgetpu")
    assert table.operators["TRANSPOSE"].since == 14
    assert "issues/193" in table.source_of("TRANSPOSE")
    assert table.source_of("ADD") == table.source


def test_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(TargetError, match=re.escape("raspberry-pi-4")) as caught:
        load_target("rasberry-pi-4")
    assert "raspberry-pi-4" in caught.value.mend


@pytest.mark.parametrize(
    ("word", "mend"),
    [
        ("pi4", "did you mean 'raspberry-pi-4'?"),
        ("Pico2", "did you mean 'raspberry-pi-pico-2'?"),
        ("android", "did you mean 'android-arm64' or 'android-gpu' or 'android-nnapi'?"),
        ("rasberry-pi-4", "did you mean 'raspberry-pi-4'?"),
    ],
)
def test_a_part_of_a_name_is_answered_with_those_that_have_it(word: str, mend: str) -> None:
    with pytest.raises(TargetError) as caught:
        load_target(word)
    assert caught.value.mend == mend


@pytest.mark.parametrize("kind", [Target, *PARTS.values()], ids=lambda kind: kind.__name__)
def test_readme_says_of_every_key_what_the_schema_says(kind: type[msgspec.Struct]) -> None:
    text = (ROOT / "targets" / "README.md").read_text(encoding="utf-8")
    told = [f"| `{key.name}` | {key.told} |" for key in keys(kind) if key.name != "sources"]
    assert "\n".join(["| key | meaning |", "|---|---|", *told]) in text
    assert kind is Target or f"`: {kind.__doc__[0].lower()}{kind.__doc__[1:-1]}\n" in text  # type: ignore[index]


def test_readme_explains_every_key() -> None:
    text = (ROOT / "targets" / "README.md").read_text(encoding="utf-8")
    keys = {*_keys(Target), *OperatorTable.__struct_fields__, *Rule.__struct_fields__}
    missing = sorted(key for key in keys if f"`{key}`" not in text and f"`[{key}]`" not in text)
    assert not missing


def _keys(kind: type[msgspec.Struct]) -> set[str]:
    """Keys of a struct and of the structs inside it."""
    found = set(kind.__struct_fields__)
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found |= _keys(field.type)
    return found


def test_list_and_show_print_facts_and_sources() -> None:
    listed = CliRunner().invoke(targets_command, [])
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in target_names())
    shown = CliRunner().invoke(targets_command, ["show", "raspberry-pi-4"])
    assert "1.50 GHz" in shown.stdout
    assert "[1] https://www.raspberrypi.com/" in shown.stdout


def test_show_as_json_gives_the_target_back() -> None:
    shown = CliRunner().invoke(targets_command, ["show", "cortex-m7", "--json"])
    assert msgspec.convert(json.loads(shown.stdout), Target) == load_target("cortex-m7")


def test_validate_reports_every_file_and_fails() -> None:
    good, bad = ROOT / "targets" / "coral-usb.toml", INVALID / "uncited-claim.toml"
    result = CliRunner().invoke(targets_command, ["validate", str(good), str(bad)])
    assert isinstance(result.exception, GateError)
    assert f"ok      {good}" in result.stdout
    assert "no source for memory.ram_bytes" in result.stdout
    assert CliRunner().invoke(targets_command, ["validate"]).exit_code == 0


def test_schema_accepts_shipped_files_and_refuses_unknown_keys() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(CliRunner().invoke(targets_command, ["schema"]).stdout)
    plain = json.loads(msgspec.json.encode(load_target("esp32-s3")))
    jsonschema.validate(plain, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**plain, "colour": "green"}, schema)


def test_targets_and_check_do_not_import_tensorflow() -> None:
    code = (
        "import sys; import edgekit.cli.targets, edgekit.cli.check; from edgekit.target import load_target;"
        "load_target('host'); print(*(m for m in ('tensorflow', 'keras', 'tf_keras', 'PIL') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
