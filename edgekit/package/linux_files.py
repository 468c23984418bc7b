"""What is in a package for Linux: the runner, the model files with what is known of them, and what Debian wants."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from email.utils import format_datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

from edgekit.errors import InputError
from edgekit.package.archive import tar_bytes
from edgekit.package.bundle import Built, Bundle
from edgekit.package.deb import Control, deb_bytes, gzip_stored, package_date
from edgekit.package.description import in_words
from edgekit.package.linux_names import module_name, package_name
from edgekit.package.linux_runner.runtime import requirements
from edgekit.package.templating import filled

if TYPE_CHECKING:
    from edgekit.package.linux import LinuxOptions

_MAINTAINER = re.compile(r"[^<>@]*[^<>@\s] <[^<>@\s]+@[^<>@\s]+>")
_SYSTEMS = (
    ("Debian 13, Raspberry Pi OS trixie, 64 bits", (3, 13), False),
    ("Debian 12, Raspberry Pi OS bookworm, 64 bits", (3, 11), False),
    ("Raspberry Pi OS bookworm, 32 bits", (3, 11), True),
    ("Raspberry Pi OS trixie, 32 bits", (3, 13), True),
    ("Ubuntu 24.04", (3, 12), False),
    ("Ubuntu 22.04", (3, 10), False),
)
_SCRIPTS = ("postinst", "prerm", "postrm")


def linux_files(bundle: Bundle, options: LinuxOptions) -> Built:
    """The archives that are asked for, and the README. Raises InputError for names and options that cannot be."""
    module = module_name(bundle.name)
    name = package_name(module)
    _refuse_words(bundle, options)
    files = {
        "deb": f"{name}_{bundle.version}_all.deb" if options.form != "tar" else "",
        "tar": f"{name}-{bundle.version}.tar" if options.form != "deb" else "",
    }
    facts = {**_facts(bundle, options), **files, "module": module, "name": name, "folder": f"{name}-{bundle.version}"}
    readme = _filled("README.md.j2", facts)
    program = _program(bundle, facts)
    made = {"README.md": readme}
    if files["deb"]:
        made[files["deb"]] = _deb(program, readme, facts)
    if files["tar"]:
        made[files["tar"]] = _tar(program, readme, facts)
    notices = () if bundle.name == module else (f"{bundle.name!r} became {module} in Python, {name} in Debian",)
    return Built(made, module, files["deb"] or files["tar"], {"debian_package": name}, notices)


def _refuse_words(bundle: Bundle, options: LinuxOptions) -> None:
    """What would end a field of a Debian file, and begin another."""
    if bundle.licence is not None and (not bundle.licence.isprintable() or not bundle.licence.strip()):
        raise InputError(f"{bundle.licence!r} is no licence", "give an SPDX identifier such as Apache-2.0")
    if not _MAINTAINER.fullmatch(options.maintainer) or not options.maintainer.isprintable():
        raise InputError(f"{options.maintainer!r} is no maintainer", "write Name <address@host>")


def _facts(bundle: Bundle, options: LinuxOptions) -> dict[str, Any]:
    """What the templates are filled with."""
    units = [variant.unit for variant in bundle.variants]
    last = bundle.variants[-1]
    shapes = [tensor.shape for tensor in last.contract.inputs]
    return {
        "version": bundle.version,
        "licence": bundle.licence,
        "maintainer": options.maintainer,
        "variants": bundle.variants,
        "edgetpu": "edgetpu" in units,
        "count": last.golden.head.samples if last.golden else 0,
        "classifies": last.contract.scores_labels and len(last.contract.labels) > 1,
        "images": len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][3] in (1, 3),
        "constants": ", ".join(f"`{name}` = {value:.9g}" for name, value in bundle.constants.items()),
        "preprocessing": in_words(last.contract.preprocessing) or "which changes nothing here",
        "runtimes": [_runtime(system, python, narrow, units[0]) for system, python, narrow in _SYSTEMS],
        "date": format_datetime(datetime.fromtimestamp(package_date(), timezone.utc)),
    }


def _runtime(system: str, python: tuple[int, int], narrow: bool, unit: str) -> dict[str, str]:
    words = requirements(unit, python, narrow)
    told = " ".join(f"`'{word}'`" if "<" in word else f"`{word}`" for word in words) or "none: use 64 bits"
    return {"system": system, "python": f"{python[0]}.{python[1]}", "words": told}


def _program(bundle: Bundle, facts: dict[str, Any]) -> dict[str, bytes]:
    """The Python package: the runner's files as they are, and beside them what they read."""
    runner = resources.files("edgekit.package.linux_runner")
    sources = sorted(entry.name for entry in runner.iterdir() if entry.name.endswith(".py"))
    golden = next(variant.golden for variant in bundle.variants if variant.golden)
    return {
        **{name: (runner / name).read_bytes() for name in sources},
        **{variant.file: variant.model for variant in bundle.variants},
        "contract.json": (json.dumps(bundle.description(), indent=1, sort_keys=True) + "\n").encode(),
        "golden.npz": golden.to_npz(),
        "requirements.txt": _filled("requirements.txt.j2", facts),
    }


def _deb(program: dict[str, bytes], readme: bytes, facts: dict[str, Any]) -> bytes:
    name, module = facts["name"], facts["module"]
    documents = f"usr/share/doc/{name}"
    unit = {**facts, "python": "/usr/bin/python3", "documentation": f"/{documents}/README.md"}
    files = {
        **{f"usr/lib/python3/dist-packages/{module}/{file}": data for file, data in program.items()},
        f"usr/lib/systemd/system/{name}.service": _filled("unit.service.j2", unit),
        f"{documents}/README.md": readme,
        f"{documents}/copyright": _filled("copyright.j2", facts),
        f"{documents}/changelog.gz": gzip_stored(_filled("changelog.j2", facts)),
    }
    scripts = {script: _filled(f"{script}.j2", facts) for script in _SCRIPTS}
    return deb_bytes(_control(facts), files, scripts=scripts)


def _control(facts: dict[str, Any]) -> Control:
    """Images need Pillow, and the environment of the runtime python3-venv; libedgetpu is in no Debian release."""
    return Control(
        package=facts["name"],
        version=facts["version"],
        maintainer=facts["maintainer"],
        synopsis="TensorFlow Lite model with a self-test",
        description=(
            (
                f"A model and a program that runs it: python3 -m {facts['module']}.",
                "It compares what this board computes with golden vectors, and runs",
                "arrays and images.",
            ),
            ("The TFLite runtime is in no Debian release: see README.md.",),
        ),
        depends=("python3 (>= 3.9)", "python3-numpy"),
        recommends=("python3-pil", "python3-venv"),
        suggests=("libedgetpu1-std | libedgetpu1-max",) if facts["edgetpu"] else (),
    )


def _tar(program: dict[str, bytes], readme: bytes, facts: dict[str, Any]) -> bytes:
    folder, name, module = facts["folder"], facts["name"], facts["module"]
    unit = {**facts, "python": f"/opt/{module}/bin/python3", "documentation": ""}
    files = {
        **{f"{folder}/{module}/{file}": data for file, data in program.items()},
        f"{folder}/{name}.service": _filled("unit.service.j2", unit),
        f"{folder}/README.md": readme,
    }
    return tar_bytes(files)


def _filled(template: str, facts: dict[str, Any]) -> bytes:
    return filled(f"linux/{template}", facts)
