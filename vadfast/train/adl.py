"""One training step of ADL: both losses, both backward passes, then both updates.

The discriminator is stepped after the generator's backward pass: stepping it before would change weights that the generator's
gradient still needs.
"""

import torch
from torch import Tensor, nn
from vadfast_kernels import ops

from vadfast.data.clips import Batch
from vadfast.data.datasets import Dataset
from vadfast.models import adl
from vadfast.models.flow import load_flow
from vadfast.models.prediction import signed_clip
from vadfast.train.attention import check_masks, precomputed_maps
from vadfast.train.clips import Clips, open_clips
from vadfast.train.config import RunConfig
from vadfast.train.training import autocast, set_rate

BATCH, LEARNING_RATE = 4, 2e-4
# The published discriminator learns ten times slower than the generator.
DISCRIMINATOR_RATE = 0.1


def open_training(config: RunConfig, dataset: Dataset) -> tuple["ADLTraining", Clips]:
    """The networks of a run, and the clips they learn from."""
    # Before films are decoded: both name files, or code, of the user's.
    load_flow(config.options.flow)
    check_masks(config.options, dataset.train, config.mask_folder)
    clips = open_clips(config, dataset)
    maps = precomputed_maps(
        config.options, clips.store, dataset.train, config.mask_folder, clips.ends
    )
    return ADLTraining(config, maps), clips


class ADLTraining:
    """Generator, discriminator and their optimisers; ``step`` is all the loop calls."""

    def __init__(self, config: RunConfig, maps: Tensor | None) -> None:
        """``maps`` are precomputed attention maps, one per frame for masks, else one per film; None = per clip."""
        self.config = config
        self._options: adl.ADLConfig = config.options
        options = self._options
        self._device = torch.device(config.device)
        self._maps = None if maps is None else maps.to(self._device)
        self.network = adl.Network(options).to(self._device)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)
        self._discriminator: adl.Discriminator | None = None
        self._d_optimizer: torch.optim.Adam | None = None
        if options.adversarial_weight > 0:
            self._discriminator = adl.Discriminator(options).to(self._device)
            self._d_optimizer = torch.optim.Adam(
                self._discriminator.parameters(), lr=config.learning_rate
            )
        self._flow = load_flow(options.flow) if options.flow_weight > 0 else None

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Trains on clips; step ``number`` of all sets rate and warm-up. Returns the losses."""
        frames = torch.from_numpy(batch.frames).to(self._device)
        attention = self._attention(frames, batch)
        clip = signed_clip(frames)  # [B, T, 3, H, W]
        # Read several times, beside a prediction whose channels come first.
        target = clip[:, -1].contiguous()
        with autocast(self.config):
            predicted = adl.predict(self.network, clip)
        predicted = predicted.float()
        losses, total = self._generator_losses(
            predicted, target, clip[:, -2], attention, self._gradient_weight(number)
        )
        critic = self._discriminator_loss(predicted, target)
        rate = self.config.learning_rate * (1 - number / self.config.steps)
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        if critic is not None and self._d_optimizer is not None:
            losses["discriminator"] = critic
            self._d_optimizer.zero_grad(set_to_none=True)
            critic.backward()
            set_rate(self._d_optimizer, rate * DISCRIMINATOR_RATE)
            self._d_optimizer.step()
        set_rate(self._optimizer, rate)
        self._optimizer.step()
        return {name: value.detach() for name, value in losses.items()}

    def state(self) -> dict[str, object]:
        """All that a resumed run needs."""
        state: dict[str, object] = {
            "generator": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        if self._discriminator is not None and self._d_optimizer is not None:
            state |= {
                "discriminator": self._discriminator.state_dict(),
                "d_optimizer": self._d_optimizer.state_dict(),
            }
        return state

    def restore(self, state: dict[str, dict[str, object]]) -> None:
        """Takes back what ``state`` gave."""
        self.network.load_state_dict(state["generator"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._discriminator is not None and self._d_optimizer is not None:
            self._discriminator.load_state_dict(state["discriminator"])
            self._d_optimizer.load_state_dict(state["d_optimizer"])

    def _attention(self, frames: Tensor, batch: Batch) -> Tensor:
        """A of uint8 clips [B, T, H, W, 3], with one channel or three."""
        options = self._options
        clip = frames.permute(0, 1, 4, 2, 3)
        if options.attention == "none":
            return clip.new_ones((), dtype=torch.float32).expand_as(clip[:, 0, :1])
        if self._maps is not None:
            index = batch.last if options.attention == "mask" else batch.video
            return self._maps[torch.from_numpy(index).to(self._device)].float() + options.background
        attention: Tensor = ops.attention_map(clip, background=options.background)
        return attention

    def _gradient_weight(self, number: int) -> float:
        warmup = self._options.gradient_warmup
        return self._options.gradient_weight * (min(1.0, number / warmup) if warmup else 1.0)

    def _generator_losses(
        self,
        predicted: Tensor,
        target: Tensor,
        previous: Tensor,
        attention: Tensor,
        gradient_weight: float,
    ) -> tuple[dict[str, Tensor], Tensor]:
        options = self._options
        content_scale = gradient_scale = 1.0
        if options.normalise_attention:
            content_scale = attention.square().mean().reciprocal().item()
            if options.gradient_attention:
                gradient_scale = attention.mean().reciprocal().item()
        weights = options.content_weight * content_scale, gradient_weight * gradient_scale
        if options.gradient_attention:
            total, content, gradient = self._weighed(predicted, target, attention, *weights)
        else:
            by_content, content, _ = self._weighed(predicted, target, attention, weights[0], 0.0)
            evenly = torch.ones_like(attention)
            by_gradient, _, gradient = self._weighed(predicted, target, evenly, 0.0, weights[1])
            total = by_content + by_gradient
        losses = {"content": content * content_scale, "gradient": gradient * gradient_scale}
        if self._discriminator is not None:
            # The generator's pass must not leave gradients in the discriminator.
            _set_trainable(self._discriminator, False)
            (judged,) = self._judged(self._discriminator, predicted)
            losses["adversarial"] = adl.adversarial_loss(judged)
            _set_trainable(self._discriminator, True)
            total = total + options.adversarial_weight * losses["adversarial"]
        if self._flow is not None:
            with torch.no_grad():
                true_flow = self._flow(previous, target)
            losses["flow"] = (self._flow(previous, predicted) - true_flow).abs().mean()
            total = total + options.flow_weight * losses["flow"]
        return losses, total

    def _weighed(
        self, predicted: Tensor, target: Tensor, attention: Tensor, content: float, gradient: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Their weighted sum, content loss and gradient loss."""
        return ops.attention_loss(
            predicted, target, attention, content_weight=content, gradient_weight=gradient,
            edge=self._options.gradient_edge,
        )  # fmt: skip

    def _discriminator_loss(self, predicted: Tensor, target: Tensor) -> Tensor | None:
        if self._discriminator is None:
            return None
        return adl.discriminator_loss(
            *self._judged(self._discriminator, target, predicted.detach())
        )

    def _judged(self, discriminator: adl.Discriminator, *frames: Tensor) -> list[Tensor]:
        """How real frames look, float32: only the network is in the run's precision, never a loss."""
        with autocast(self.config):
            return [discriminator(frame).float() for frame in frames]


def _set_trainable(module: nn.Module, value: bool) -> None:
    for parameter in module.parameters():
        parameter.requires_grad_(value)
