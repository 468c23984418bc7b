"""A folder that goes into a firmware build: the model as C, its operators, its arena, a self-test, and build files."""

from __future__ import annotations

from edgekit.package.build import Kind
from edgekit.package.firmware_files import firmware_files, refuse_what_cannot_run

KIND = Kind(firmware_files, units=("cpu",), bare=True, micro=True, refuse=refuse_what_cannot_run)
