"""I3D on ResNet50 (the baseline of Wang et al., "Non-local neural networks", CVPR 2018), up to its average pool: RTFM's features.

Names and shapes are those of the PyTorch port of the authors' Kinetics weights (Tushar-N/pytorch-resnet3d 17230e1), so that its file
loads.
"""

from torch import Tensor, nn

# Of each stage: width, stride, and whether a block's first convolution spans 3 frames or 1.
_STAGES = (
    (64, 1, (1, 1, 1)),
    (128, 2, (1, 0, 1, 0)),
    (256, 2, (1, 0, 1, 0, 1, 0)),
    (512, 2, (0, 1, 0)),
)
_EXPANSION = 4


class I3DResNet50(nn.Module):
    """Snippets [B, 3, 16, 224, 224], normalised -> [B, 2048].

    27,223,872 parameters; the published 28.04 M have a classifier of 400 classes (819,600) on top.
    """

    unused = ("fc.",)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, (5, 7, 7), (2, 2, 2), (2, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        c_in = 64
        for number, (width, stride, spans) in enumerate(_STAGES, 1):
            blocks = [
                _Bottleneck(
                    c_in if i == 0 else width * _EXPANSION, width, stride if i == 0 else 1, spans=s
                )
                for i, s in enumerate(spans)
            ]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            c_in = width * _EXPANSION
        self._pool1 = nn.MaxPool3d((2, 3, 3), 2)
        self._pool2 = nn.MaxPool3d((2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The features of snippets."""
        x = self._pool1(self.bn1(self.conv1(x)).relu())
        for number in range(1, len(_STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
            if number == 1:
                x = self._pool2(x)
        return x.mean(dim=(2, 3, 4))


class _Bottleneck(nn.Module):
    def __init__(self, c_in: int, width: int, stride: int, *, spans: int) -> None:
        super().__init__()
        c_out = width * _EXPANSION
        self.conv1 = nn.Conv3d(
            c_in, width, (1 + 2 * spans, 1, 1), padding=(spans, 0, 0), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(
            width, width, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False
        )
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(c_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(
                nn.Conv3d(c_in, c_out, 1, (1, stride, stride), bias=False), nn.BatchNorm3d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + self.downsample(x)).relu()
