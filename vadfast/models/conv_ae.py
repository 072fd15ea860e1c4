"""Conv-AE with 3-D convolutions: an autoencoder over space and time, the first of ADL's other networks (its table IV).

The paper names Hasan et al. (CVPR 2016), whose convolutions are flat, and gives no layers of "3DConv-AE". So these are the layers of
the nearest published one (Zhao et al., ACM MM 2017): three 3-D convolutions down, three up, no connection past the code.
"""

from torch import Tensor, nn

from vadfast.models.unet import xavier_initialise


class ConvAE(nn.Module):
    """Reconstructs the last of T frames from all of them.

        encoder   [3, 5] -> [w, 5] -> [2w, 3] -> [4w, 2] channels and times, each at half the height and width of the one before
        decoder   the same back; the last time is the frame

    Convolutions are 3x3x3 with bias, each followed by ReLU, the last by tanh.

    Shapes: T = 5 frames stacked on channels [B, 15, H, W] -> [B, 3, H, W] in [-1, 1]; H and W divisible by 8.
    """

    n_inputs = 5  # it sees the frame that it is judged by

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        w = width
        self.encoder = nn.Sequential(
            *(nn.Conv3d(3, w, 3, stride=(1, 2, 2), padding=1), nn.ReLU()),
            *(nn.Conv3d(w, 2 * w, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv3d(2 * w, 4 * w, 3, stride=2, padding=1), nn.ReLU()),
        )
        self.decoder = nn.Sequential(
            *(_up(4 * w, 2 * w, time=2), nn.ReLU()),
            *(_up(2 * w, w, time=2), nn.ReLU()),
            *(_up(w, 3, time=1), nn.Tanh()),
        )
        self.apply(xavier_initialise)

    def forward(self, frames: Tensor) -> Tensor:
        """Returns the reconstructed last frame [B, 3, H, W]."""
        clip = frames.unflatten(1, (self.n_inputs, 3)).transpose(1, 2)  # [B, 3, 5, H, W]
        reconstructed: Tensor = self.decoder(self.encoder(clip))  # [B, 3, 5, H, W]
        return reconstructed[:, :, -1]


def _up(c_in: int, c_out: int, *, time: int) -> nn.ConvTranspose3d:
    """Doubles height and width; ``time=2`` turns 2 times into 3 and 3 into 5."""
    return nn.ConvTranspose3d(
        c_in, c_out, 3, stride=(time, 2, 2), padding=1, output_padding=(0, 1, 1)
    )
