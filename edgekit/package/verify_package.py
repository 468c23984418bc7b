"""Verify a package: every file is what the manifest says and there is no other, and whose signature the manifest has.

The manifest holds the hash of every file, and the signature is of the manifest; so one key vouches for the whole. What
is wrong is a finding that names its file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from msgspec import Struct

from edgekit.errors import InputError
from edgekit.finding import Finding
from edgekit.package.build import KINDS
from edgekit.package.folder import KIND, MANIFEST, SIGNATURE
from edgekit.package.package_files import PackageFiles, package_files
from edgekit.package.signature import SignatureCheck, check_signature

_MOST_MANIFEST = 16 << 20
_MOST_SIGNATURE = 1 << 16
_SHA256 = re.compile(r"[0-9a-f]{64}")
_AGAIN = "take the package from its maker again"


class ModelFile(Struct, frozen=True):
    """One model file of a package, as the manifest has it."""

    unit: str
    file: str
    sha256: str


class PackageManifest(Struct, frozen=True):
    """What is read of a package's `manifest.json`: `kind` is what it goes into, `files` are hashes by name."""

    kind: str = msgspec.field(name="for")
    name: str
    version: str
    variants: tuple[ModelFile, ...]
    files: dict[str, str]
    format_version: int


class PackageCheck(Struct, frozen=True):
    """A package beside its manifest, which is None where the signature is not that of the key.

    Without a key `passed` says nothing about who made it.
    """

    package: str
    manifest: PackageManifest | None
    signature: SignatureCheck
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """True if nothing is wrong."""
        return not self.findings


def verify_package(package: Path, key: str | None = None) -> PackageCheck:
    """Check a package folder, or an archive of one, and its signature if a public key of minisign is given.

    `key` is a file or the key's own line of base64. Raises InputError for what is no package, or cannot be read,
    MissingDependency without py-minisign where there is a signature.
    """
    with package_files(package) as files:
        return check_files(str(package), files, key)


def check_files(package: str, files: PackageFiles, key: str | None) -> PackageCheck:
    """What `verify_package` does, with the files of an open package."""
    data = files.read(MANIFEST, _MOST_MANIFEST)
    signed = files.read(SIGNATURE, _MOST_SIGNATURE) if SIGNATURE in files.opens else None
    signature = check_signature(data, signed, key)
    if wrong := _of_signature(signature, key):  # what someone else wrote is not worth reading
        return PackageCheck(package, None, signature, wrong)
    manifest = _manifest(package, data)
    found = (*_refused(files), *_named(files, manifest.files), *_unnamed(files, manifest.files))
    return PackageCheck(package, manifest, signature, found)


def _of_signature(signature: SignatureCheck, key: str | None) -> tuple[Finding, ...]:
    if signature.state == "absent" and key is not None:
        return (_error("not-signed", SIGNATURE, "a key is given, and the package is not signed", _AGAIN),)
    if signature.state == "invalid":
        return (_error("signature", SIGNATURE, signature.problem, "do not use it; " + _AGAIN),)
    return ()


def _manifest(package: str, data: bytes) -> PackageManifest:
    try:
        words = json.loads(data, object_pairs_hook=_once)
        if not isinstance(words, dict) or words.get("kind") != KIND:
            raise InputError(f"{package}: {MANIFEST} is not that of a package", "give what edgekit package made")
        manifest = msgspec.convert(words, PackageManifest)
    except (ValueError, RecursionError, msgspec.ValidationError) as cause:
        raise InputError(f"{package}: {MANIFEST} cannot be read: {cause}", _AGAIN) from None
    if manifest.format_version != 1 or manifest.kind not in KINDS:
        raise InputError(
            f"{package}: a package for {manifest.kind!r} in format {manifest.format_version}",
            f"known is format 1 for {', '.join(KINDS)}: a newer edgekit may have made it",
        )
    return manifest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are all different: of two with one name, readers take different ones."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refused(files: PackageFiles) -> Iterator[Finding]:
    for name, reason in sorted(files.refused.items()):
        yield _error("refused", name, f"it {reason}", "do not unpack it; " + _AGAIN)


def _named(files: PackageFiles, hashes: dict[str, str]) -> Iterator[Finding]:
    """What is wrong with the files that the manifest names."""
    for name, known in sorted(hashes.items()):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.as_posix() != name or not _SHA256.fullmatch(known):
            yield _error("manifest", name, f"{MANIFEST} names it, and it leads elsewhere or has no SHA-256", _AGAIN)
        elif name not in files.opens:
            yield _error("missing", name, "it is not there", _AGAIN)
        elif files.sha256(name) != known:
            yield _error("changed", name, "it is not what the manifest has the SHA-256 of", _AGAIN)


def _unnamed(files: PackageFiles, hashes: dict[str, str]) -> Iterator[Finding]:
    for name in sorted({*files.opens} - {*hashes, MANIFEST, SIGNATURE}):
        yield _error("unlisted", name, "the manifest does not name it", "remove it, or " + _AGAIN)


def _error(code: str, subject: str, problem: str, mend: str) -> Finding:
    return Finding("error", code, subject, problem, mend)
