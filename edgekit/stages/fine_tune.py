"""Fine-tune: train on the labels, with the zeros and the shared values of earlier stages kept."""

from __future__ import annotations

from msgspec import Struct

from edgekit.stages.freezing import Freeze
from edgekit.stages.training import Training


class FineTune(Struct, frozen=True, forbid_unknown_fields=True, tag="fine_tune", tag_field="stage"):
    """Train the model on the labels; what earlier stages removed or tied together stays so."""

    freeze: Freeze = ()
    training: Training = Training()

    @property
    def detail(self) -> str:
        """The stage in a few words."""
        return f"{self.training.detail}, {', '.join(self.freeze)} frozen" if self.freeze else self.training.detail
