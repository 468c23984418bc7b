"""Bill of materials of an artifact or a package, CycloneDX 1.6: models, what they were made from, what made them.

The same models give the same bytes: the serial number follows from their hashes, the time is SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from edgekit.artifact import Manifest
from edgekit.errors import MissingDependency
from edgekit.package.archive import source_date_epoch
from edgekit.package.bundle import Bundle, Variant

_SHA256_DIGITS = 64


def sbom(manifest: Manifest, licence: str | None = None) -> bytes:
    """The bill of an artifact as JSON. `licence` is an SPDX identifier or expression, or else a name.

    The packages are those that the manifest names with their versions, as tools: none is inside the model. Raises
    MissingDependency without cyclonedx-python-lib, InputError for a wrong SOURCE_DATE_EPOCH.
    """
    require_cyclonedx()
    model, sources = _model(manifest, licence), _sources(manifest)
    return _bill(model, sources, manifest.versions, manifest.sha256)


def package_sbom(bundle: Bundle, tools: Mapping[str, str]) -> bytes:
    """The bill of a package: its model files, and what artifacts say that they were made from; raises as `sbom`."""
    require_cyclonedx()
    from cyclonedx.model.component import Component, ComponentType

    whole = Component(
        name=bundle.name,
        version=bundle.version,
        type=ComponentType.LIBRARY,
        bom_ref="package",
        licenses=_licences(bundle.licence),
    )
    files = [_file(variant, bundle.licence) for variant in bundle.variants]
    artifacts = [known for variant in bundle.variants if (known := variant.source.artifact())]
    sources = {one.bom_ref.value: one for known in artifacts for one in _sources(known)}
    return _bill(whole, [*files, *sources.values()], tools, "".join(variant.sha256 for variant in bundle.variants))


def require_cyclonedx() -> None:
    """Raise MissingDependency where no bill can be written."""
    if find_spec("cyclonedx") is None:
        raise MissingDependency("a bill of materials needs cyclonedx-python-lib", "pip install 'edgekit[package]'")


def _bill(subject: Any, parts: list[Any], tools: Mapping[str, str], digest: str) -> bytes:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    metadata = BomMetaData(
        component=subject,
        tools=ToolRepository(components=[_tool(*pair) for pair in sorted(tools.items())]),
        timestamp=datetime.fromtimestamp(source_date_epoch(), timezone.utc),
    )
    bill = Bom(components=parts, metadata=metadata, serial_number=uuid5(NAMESPACE_URL, f"sha256:{digest}"))
    bill.register_dependency(subject, parts)
    document = json.loads(JsonV1Dot6(bill).output_as_string())
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _model(manifest: Manifest, licence: str | None) -> Any:
    words = {"numeric": manifest.numeric, "recipe": manifest.recipe.name, "target": manifest.target}
    return _component(manifest.file, "model", manifest.sha256, licence, words)


def _file(variant: Variant, licence: str | None) -> Any:
    words = {"numeric": variant.contents.numeric, "unit": variant.unit}
    return _component(variant.file, variant.file, variant.sha256, licence, words)


def _sources(manifest: Manifest) -> list[Any]:
    """The model that came in, and the data that calibrated and judged it."""
    model, data = manifest.model, manifest.data
    came_in = _component(model.name, f"source-model-{model.sha256}", model.sha256)
    if data is None:
        return [came_in]
    return [came_in, _component("data", f"data-{data.fingerprint}", data.fingerprint, is_data=True)]


def _component(
    name: str,
    ref: str,
    sha256: str,
    licence: str | None = None,
    words: Mapping[str, str] | None = None,
    is_data: bool = False,
) -> Any:
    """A model or data; without a hash where it had no file."""
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=name,
        type=ComponentType.DATA if is_data else ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=ref,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if len(sha256) == _SHA256_DIGITS else [],
        licenses=_licences(licence),
        properties=[Property(name=f"edgekit:{word}", value=value) for word, value in (words or {}).items()],
    )


def _licences(licence: str | None) -> list[Any]:
    from cyclonedx.contrib.license.factories import LicenseFactory

    return [LicenseFactory().make_from_string(licence)] if licence else []


def _tool(name: str, version: str) -> Any:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"tool-{name}",
        purl=PackageURL("pypi", name=name, version=version),
    )
