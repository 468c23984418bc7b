"""Bill of materials of an artifact, CycloneDX 1.6: the model, what it was made from, and what made it.

The same artifact gives the same bytes: the serial number follows from the model's hash, the time is SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from edgekit.artifact import Manifest
from edgekit.errors import MissingDependency
from edgekit.package.archive import source_date_epoch

_SHA256_DIGITS = 64


def sbom(manifest: Manifest, licence: str | None = None) -> bytes:
    """The bill of materials as JSON. `licence` is an SPDX identifier or expression, or else a name.

    The packages are those that the manifest names with their versions, as tools: none is inside the model. Raises
    MissingDependency without cyclonedx-python-lib, InputError for a wrong SOURCE_DATE_EPOCH.
    """
    try:
        from cyclonedx.model.bom import Bom, BomMetaData
        from cyclonedx.model.tool import ToolRepository
        from cyclonedx.output.json import JsonV1Dot6
    except ModuleNotFoundError:
        raise MissingDependency(
            "a bill of materials needs cyclonedx-python-lib", "pip install 'edgekit[package]'"
        ) from None
    model, sources = _model(manifest, licence), _sources(manifest)
    metadata = BomMetaData(
        component=model,
        tools=ToolRepository(components=[_package(*pair) for pair in sorted(manifest.versions.items())]),
        timestamp=datetime.fromtimestamp(source_date_epoch(), timezone.utc),
    )
    serial = uuid5(NAMESPACE_URL, f"sha256:{manifest.sha256}")
    bill = Bom(components=sources, metadata=metadata, serial_number=serial)
    bill.register_dependency(model, sources)
    document = json.loads(JsonV1Dot6(bill).output_as_string())
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _model(manifest: Manifest, licence: str | None) -> Any:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=manifest.file,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        hashes=_hashes(manifest.sha256),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
        properties=[
            Property(name="edgekit:numeric", value=manifest.numeric),
            Property(name="edgekit:recipe", value=manifest.recipe.name),
            Property(name="edgekit:target", value=manifest.target),
        ],
    )


def _sources(manifest: Manifest) -> list[Any]:
    """The model that came in, and the data that calibrated and judged it."""
    from cyclonedx.model.component import Component, ComponentType

    came_in = Component(
        name=manifest.model.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="source-model",
        hashes=_hashes(manifest.model.sha256),
    )
    if manifest.data is None:
        return [came_in]
    data = Component(name="data", type=ComponentType.DATA, bom_ref="data", hashes=_hashes(manifest.data.fingerprint))
    return [came_in, data]


def _hashes(sha256: str) -> list[Any]:
    """None for a model that had no file to hash."""
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if len(sha256) == _SHA256_DIGITS else []


def _package(name: str, version: str) -> Any:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"tool-{name}",
        purl=PackageURL("pypi", name=name, version=version),
    )
