"""Order: everything that a search is asked, as words that another process can be told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import Struct

from edgekit.artifact import sha256
from edgekit.errors import InputError, did_you_mean
from edgekit.python_reference import function_digest
from edgekit.search.budget import Budget, timed_by_devices
from edgekit.search.front import Prefer
from edgekit.search.pool import Pool
from edgekit.search.rungs import Rungs
from edgekit.search.trials import Sampler
from edgekit.talk import Say
from edgekit.target import Target, load_target


class Order(Struct, frozen=True):
    """What `edgekit.search.run.search_recipes` was asked, by the same names."""

    model: Any
    data: Any
    out: str
    target: Any = "host"
    max_drop: str | float | None = None
    min_score: float | None = None
    max_bytes: str | int | None = None
    max_download: str | int | None = None
    max_latency: str | float | None = None
    max_ram: str | int | None = None
    prefer: Prefer | None = None
    device: tuple[str, ...] = ()
    benchmark: bool = True
    time: str | float | None = None
    trials: int | None = None
    epochs: int | None = None
    seed: int = 0
    name: str = "search"
    storage: str | None = None
    workers: int = 1
    sampler: Sampler = "tpe"
    data_options: dict[str, Any] = {}
    trust: bool = False

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Order:
        """The order of a call; paths become words, one device is a row of one."""
        named: dict[str, Any] = {key: str(value) if isinstance(value, Path) else value for key, value in asked.items()}
        device = named["device"] or ()
        named["device"] = (device,) if isinstance(device, str) else tuple(device)
        named["data_options"] = dict(named["data_options"] or {})
        return cls(**named)

    def checked(self) -> tuple[Target, Budget]:
        """The target and the budget. Raises InputError for what is impossible before anything is looked at."""
        target = load_target(self.target)
        budget = Budget.parse(
            self.max_drop, self.min_score, self.max_bytes, self.max_download, self.max_latency, self.max_ram
        )
        budget.refuse(target)
        if self.device and not timed_by_devices(target):
            raise InputError(
                f"--device times a file on the processor of a board, and {target.name} runs it elsewhere",
                "leave --device out; `edgekit benchmark` times what is found, by its --delegate where it has one",
            )
        self._refuse_words()
        if self.workers < 1:
            raise InputError(f"{self.workers} workers do nothing", "give --workers 2")
        if self.workers > 1 and not all(isinstance(given, str) for given in (self.model, self.data, self.target)):
            raise InputError("several workers load model, data and target themselves", "give each by path or name")
        if (self.workers > 1 or self.storage) and "TF_CONFIG" in os.environ:
            raise InputError(
                "TF_CONFIG lets several processes train one model, and the workers of a search try different ones",
                "unset TF_CONFIG for a search, and train what it finds with `edgekit optimize`",
            )
        return target, budget

    def _refuse_words(self) -> None:
        for name, given, known in (("prefer", self.prefer, Prefer), ("sampler", self.sampler, Sampler)):
            if given is not None and given not in get_args(known):
                raise InputError(f"unknown {name} {given!r}", did_you_mean(given, get_args(known)))
        for name, count in (("trials", self.trials), ("epochs", self.epochs)):
            if count is not None and count < 1:
                raise InputError(f"a search of {count} {name}", "give 1 or more, or leave it out")

    def pool(self, target: Target, say: Say) -> Pool | None:
        """What latency is measured on, None where it is estimated."""
        if not self.benchmark:
            return None
        if self.device:
            return Pool(self.device, say)
        return Pool(("local",), say) if target.family == "host" else None

    def question(self, rungs: Rungs) -> dict[str, str]:
        """What the search is of: when it is gone on with, and by every worker, all of it has to be the same.

        In a shared storage each worker may have devices of its own, which are compared by the float file.
        """
        own = ", ".join(sorted(self.device)) if self.storage is None else ""
        metric = rungs.data.metric or ""
        named = {metric, *(head.loss for head in rungs.data.heads)}
        code = " ".join(function_digest(name) for name in sorted(named) if ":" in name)
        return {
            **({"code of the metric": code} if code else {}),
            "model": rungs.model.sha256,
            "data": rungs.data.fingerprint,
            "target": sha256(msgspec.json.encode(rungs.target)),
            "budget": msgspec.json.encode(self.checked()[1]).decode(),
            "number of epochs": str(self.epochs),
            "device": f"{own} {rungs.clock.timed}",
        }
