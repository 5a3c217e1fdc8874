"""A probe as a Lightning callback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.training.probe import Probe


def lightning_callback(probe: Probe) -> Any:
    """A Lightning callback that steps the probe once an optimiser step.

    Its state is kept in checkpoints. For `lightning` and for `pytorch_lightning`, whichever is
    installed (the first, where both are). Raises ModuleNotFoundError where none is.
    """
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:
        try:
            from pytorch_lightning import Callback
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "neither lightning nor pytorch_lightning is installed: "
                "pip install 'gradbridge[lightning]'"
            ) from error

    class ProbeCallback(Callback):  # type: ignore[misc]
        """Steps the probe whenever the optimiser has stepped."""

        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            # While gradients are accumulated there is no new step.
            if trainer.global_step != probe.steps:
                probe.step(trainer.global_step)

        def state_dict(self) -> dict[str, Any]:
            return probe.state_dict()

        def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
            probe.load_state_dict(state_dict)

    return ProbeCallback()
