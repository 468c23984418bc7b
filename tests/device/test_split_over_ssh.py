"""A split on a device behind a real sshd: sent, unpacked, run beside the whole, measured, and gone afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Sshd
from toy_networks import two_branches

from edgekit.errors import InputError
from edgekit.split.make import Wish, split_model
from edgekit.split.on_device import Installed, Units, agreements
from edgekit.split.samples import random_samples
from edgekit.split.write import write_split


def test_a_split_is_sent_run_and_measured(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "whole.tflite").write_bytes(two_branches("int8"))
    split = split_model(two_branches("int8"), Wish(4, branches=True))
    write_split(split, tmp_path / "parts")
    fed = random_samples(split.plan.inputs, 5)
    with sshd.device() as device:
        installed = Installed(tmp_path / "parts", split.plan, device)
        found = installed.run(fed, Units())
        assert all(one.identical for one in agreements(tmp_path / "whole.tflite", fed, found, split.plan, device))
        speeds = installed.measure(tmp_path / "whole.tflite", fed, Units(depth=1), 0.1)
        assert speeds.rows[-1].name == "pipeline"
        with pytest.raises(InputError, match="3 units for 4 segments") as refused:
            installed.run(fed, Units(("cpu", "cpu", "cpu")))
        assert refused.value.mend == "name 4, one for each segment"
