"""The paper's network for ImageNet-100."""

from torch import Tensor, nn


class ResNet18(nn.Module):
    """torchvision's ResNet-18 (He et al., CVPR 2016), not pretrained, with attention after its first convolution.

    A has the resolution of that convolution, half the image's: 112x112 at 224x224 (see `at_image_size`).
    11.23 M parameters at 100 classes. [B, C, H, W] -> logits [B, classes], A [B, 1, ceil(H/2), ceil(W/2)].
    In training mode the last maps need more than one value a channel: a batch of one needs images of 33x33 or more.
    """

    def __init__(self, channels: int, classes: int, attention: nn.Module) -> None:
        super().__init__()
        from torchvision.models import resnet18  # imported here: the other networks do not need torchvision

        self.attention = attention
        self.trunk = resnet18(weights=None, num_classes=classes)
        if channels != 3:
            self.trunk.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        trunk = self.trunk
        features = trunk.conv1(images)
        attention = self.attention(features)
        hidden = trunk.maxpool(trunk.relu(trunk.bn1(features * attention)))
        for stage in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4):
            hidden = stage(hidden)
        return trunk.fc(trunk.avgpool(hidden).flatten(1)), attention
