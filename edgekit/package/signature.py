"""Signatures of packages: minisign's format, over the bytes of `manifest.json`, which holds the hash of every file.

Files and keys are those of https://jedisct1.github.io/minisign/, so `minisign -V` checks what is signed here and the
other way round. Ed25519 is deterministic and the trusted comment holds no time: the same manifest and key give the same
bytes.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from edgekit.errors import InputError, MissingDependency, OutputError
from edgekit.package.folder import MANIFEST, SIGNATURE, locked, write_if_changed

if TYPE_CHECKING:
    import minisign

PASSPHRASE = "EDGEKIT_KEY_PASSPHRASE"
"""The environment variable with the passphrase of a key."""

_COMMENT = f"file:{MANIFEST}\thashed"
_PUBLIC_KEY = re.compile(r"RW[A-Za-z0-9+/]{54}")
_MOST_BYTES = 1 << 16

Ask = Callable[[], str]


class SignatureCheck(Struct, frozen=True):
    """What became of a signature; only a `valid` one was made by the key that was given.

    `unchecked`: there is one, and no key was given. `key_id` and `comment` are what the signature says of itself.
    """

    state: Literal["valid", "invalid", "unchecked", "absent"]
    key_id: str = ""
    comment: str = ""
    problem: str = ""


def sign(data: bytes, key: Path, ask: Ask | None = None) -> bytes:
    """The signature file of some bytes, made with a secret key of minisign.

    The passphrase of a protected key is that of the environment variable EDGEKIT_KEY_PASSPHRASE, else what `ask` gives.
    Raises InputError for a key that cannot be read or a wrong passphrase, MissingDependency without py-minisign.
    """
    library = _minisign()
    try:
        with library.SecretKey.from_bytes(_read(key)) as secret:
            if secret.is_encrypted():
                secret.decrypt(_passphrase(key, ask))
            made = secret.sign(data, trusted_comment=_COMMENT)
            secret.get_public_key().verify(data, made)
    except library.VerifyError:
        raise InputError(f"{key}: its two halves do not belong together", "take another copy of the key") from None
    except library.Error as cause:
        raise InputError(f"{key}: {cause}", "give a secret key of minisign, and its passphrase") from None
    return bytes(made) + b"\n"


def sign_folder(folder: Path, key: Path, ask: Ask | None = None) -> bool:
    """Sign the manifest of a package folder; whether the signature changed. Raises as `sign` does, and OutputError."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
    except OSError as cause:
        raise InputError(f"{folder / MANIFEST}: {cause.strerror}", "give the folder of a package") from None
    signature = sign(manifest, key, ask)
    with locked(folder):
        return write_if_changed(folder / SIGNATURE, signature)


def check_signature(data: bytes, signature: bytes | None, key: str | None) -> SignatureCheck:
    """Hold a signature file against the bytes it is of and a public key: a file, or the key's own line of base64.

    Raises InputError for a key that is none, MissingDependency without py-minisign where there is something to check.
    """
    public = None if key is None else _public_key(key)
    if signature is None:
        return SignatureCheck("absent")
    library = _minisign()
    try:
        found = library.Signature.from_bytes(signature)
    except library.Error as cause:
        return SignatureCheck("invalid", problem=f"{SIGNATURE} is no signature of minisign: {cause}")
    read = bytes(found).splitlines()[1:]
    if read != signature.splitlines()[1:]:  # base64 with stray bytes or bits would be read as if it were without
        return SignatureCheck("invalid", problem=f"{SIGNATURE} is not written as minisign writes it")
    said = {"key_id": _key_id(read[0]), "comment": found.trusted_comment}
    if public is None:
        return SignatureCheck("unchecked", **said)
    if said["key_id"] != (wanted := _key_id(public.to_base64())):
        return SignatureCheck("invalid", **said, problem=f"it is of the key {said['key_id']}, not of {wanted}")
    try:
        public.verify(data, found)
    except library.VerifyError:
        return SignatureCheck("invalid", **said, problem=f"{MANIFEST} is not what was signed")
    return SignatureCheck("valid", **said)


def new_key(secret: Path, public: Path, passphrase: str | None) -> str:
    """Write a new pair of keys, the secret one readable by its owner only, and give the line of the public one.

    Without a passphrase the secret key is not protected. Raises OutputError for a file that is there or cannot be made.
    """
    pair = _minisign().KeyPair.generate()
    if passphrase is not None:
        pair.secret_key.encrypt(passphrase)
    line = pair.public_key.to_base64()
    pair.public_key.untrusted_comment = f"minisign public key {_key_id(line)}"
    if public.exists():
        raise OutputError(f"{public} exists already", "choose another name: a key that is lost cannot be made again")
    _write_new(secret, bytes(pair.secret_key) + b"\n", 0o600)
    try:
        _write_new(public, bytes(pair.public_key) + b"\n", 0o644)
    except OutputError:
        secret.unlink()  # half a pair is none
        raise
    return str(line.decode())


def _passphrase(key: Path, ask: Ask | None) -> str:
    if (found := os.environ.get(PASSPHRASE)) is not None:
        return found
    if ask is None:
        raise InputError(f"{key} is protected by a passphrase", f"give it in the environment variable {PASSPHRASE}")
    return ask()


def _public_key(key: str) -> minisign.PublicKey:
    library = _minisign()
    try:
        if _PUBLIC_KEY.fullmatch(key):  # even where a file has that name: the package may have brought it
            return library.PublicKey.from_base64(key)
        return library.PublicKey.from_bytes(_read(Path(key)))
    except library.Error as cause:
        raise InputError(
            f"{key}: no public key of minisign ({cause})", "give its .pub file, or its line that begins with RW"
        ) from None


def _key_id(line: bytes) -> str:
    """As minisign writes it; a key and a signature have it behind two bytes for the algorithm."""
    return f"{int.from_bytes(base64.b64decode(line)[2:10], 'little'):016X}"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as cause:
        raise InputError(f"{path}: {cause.strerror}", "give a key that can be read") from None


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError:
            path.unlink()
            raise
    except FileExistsError:
        raise OutputError(
            f"{path} exists already", "choose another name: a key that is lost cannot be made again"
        ) from None
    except OSError as cause:
        raise OutputError(f"{path}: {cause.strerror}", "give a place that can be written") from None


def _minisign() -> Any:
    try:
        import minisign
    except ModuleNotFoundError:
        raise MissingDependency("signatures need py-minisign", "pip install 'edgekit[package]'") from None
    if not hasattr(minisign, "SecretKey"):  # another package has the same import name
        raise MissingDependency(
            "the package 'minisign' hides py-minisign", "pip uninstall minisign; pip install 'edgekit[package]'"
        )
    return minisign
