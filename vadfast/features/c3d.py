"""C3D up to its sixth fully connected layer (Tran et al., ICCV 2015), as Sultani et al. describe films by.

Names and shapes are those of the PyTorch port of the authors' Sports-1M weights (DavideA/c3d-pytorch 076d40e), so that its file loads.
"""

import torch
from torch import Tensor, nn


class C3D(nn.Module):
    """Snippets [B, 3, 16, 112, 112] -> fc6 after its ReLU [B, 4096].

    61,214,464 parameters; the published 78.4 M have fc7 (16,781,312) and a classifier of 101 classes (413,797) on top.
    """

    unused = ("fc7.", "fc8.")  # of the published files: what comes after

    def __init__(self) -> None:
        super().__init__()
        widths = {
            "1": (3, 64), "2": (64, 128), "3a": (128, 256), "3b": (256, 256),
            "4a": (256, 512), "4b": (512, 512), "5a": (512, 512), "5b": (512, 512),
        }  # fmt: skip
        for name, (c_in, c_out) in widths.items():
            self.add_module(f"conv{name}", nn.Conv3d(c_in, c_out, 3, padding=1))
        self.fc6 = nn.Linear(8192, 4096)
        # The last pools 7 x 7 to 4 x 4: that is where 8192 comes from.
        self._pools = (
            nn.MaxPool3d((1, 2, 2)),
            nn.MaxPool3d(2),
            nn.MaxPool3d(2),
            nn.MaxPool3d(2),
            nn.MaxPool3d(2, padding=(0, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The features of snippets."""
        for pool, names in zip(self._pools, ("1", "2", "3a 3b", "4a 4b", "5a 5b"), strict=True):
            for name in names.split():
                x = self.get_submodule(f"conv{name}")(x).relu()
            x = pool(x)
        return torch.relu(self.fc6(x.flatten(1)))
