"""The archives of Android: an AAR, and the jar of classes in it, of fixed bytes.

Source: developer.android.com/studio/projects/android-library, "Anatomy of an AAR file".
"""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from edgekit.errors import InputError, MissingDependency, RunError
from edgekit.package.archive import zip_bytes
from edgekit.package.templating import filled

_QUICK = "-J-XX:TieredStopAtLevel=1"
_OPTIONS = (_QUICK, "--release", "8", "-Xlint:-options", "-proc:none", "-encoding", "UTF-8", "-g:source,lines")
"""Every Android Gradle plugin of today reads class files of Java 8."""


class Jar(Struct, frozen=True):
    """Classes to compile against: the name of the archive, and the bytes of the jar that it is or has in it."""

    name: str
    data: bytes

    @classmethod
    def read(cls, path: Path) -> Jar:
        """A .jar, or the classes.jar of an .aar. Raises InputError for what is neither."""
        try:
            data = path.read_bytes()
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                inner = "classes.jar" in archive.namelist()
                return cls(path.name, archive.read("classes.jar") if inner else data)
        except (OSError, zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, RuntimeError) as cause:
            raise InputError(
                f"{path}: no archive of classes ({cause})", "give android.jar, a .jar or an .aar"
            ) from None

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the jar."""
        return hashlib.sha256(self.data).hexdigest()


def aar_bytes(facts: Mapping[str, Any], classes: bytes, assets: Mapping[str, bytes]) -> bytes:
    """The AAR: a manifest with package and minimal API level, classes, assets, no resources, rules for R8."""
    metadata = "aarFormatVersion=1.0\naarMetadataVersion=1.0\nminCompileSdk=1\n"
    return zip_bytes(
        {
            "AndroidManifest.xml": filled("android/AndroidManifest.xml.j2", facts),
            "META-INF/com/android/build/gradle/aar-metadata.properties": metadata.encode(),
            "R.txt": b"",
            "classes.jar": classes,
            "proguard.txt": filled("android/proguard.txt.j2", facts),
            **assets,
        }
    )


def compiled(sources: Mapping[str, bytes], classpath: tuple[Jar, ...]) -> tuple[bytes, str | None]:
    """A jar of the compiled sources, and which compiler made it; a jar without classes where there is no classpath.

    Raises MissingDependency without javac, RunError where it refuses.
    """
    if not classpath:
        return _jar({}), None
    javac = shutil.which("javac")
    if javac is None:
        raise MissingDependency("javac is not installed", "apt-get install openjdk-17-jdk-headless, or no --classpath")
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        place = Path(name)
        jars = {f"classpath{number}.jar": jar.data for number, jar in enumerate(classpath)}
        for file, data in (*sources.items(), *jars.items()):
            (place / file).write_bytes(data)
        command = [javac, *_OPTIONS, "-cp", ":".join(jars), "-d", "classes", *sorted(sources)]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunError(f"javac: {done.stderr.strip()[:500]}", "give android.jar and the classes of the runtime")
        made = place / "classes"
        classes = {str(path.relative_to(made)): path.read_bytes() for path in made.rglob("*.class")}
    return _jar(classes), _version(javac)


def _version(javac: str) -> str:
    done = subprocess.run([javac, "-version"], capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).strip()


def _jar(classes: Mapping[str, bytes]) -> bytes:
    return zip_bytes({"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\n\r\n", **classes})
