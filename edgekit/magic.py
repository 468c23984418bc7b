"""First bytes that tell files apart, and what a damaged archive makes Python raise."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

ZIP, EMPTY_ZIP, HDF5 = b"PK\x03\x04", b"PK\x05\x06", b"\x89HDF\r\n\x1a\n"

ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError)
