"""Networks that are not ours: where Grad-CAM looks, which A is theirs, and the errors for what does not fit."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from captum.attr import LayerAttribution, LayerGradCam
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from arli_core.analysis.attribution import METHODS, attribute, last_convolution, layer_of, look, with_attention

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(side=12, count=3):
    return torch.randn(count, 3, side, side, generator=seeded(1))


def captums(logits, layer, batch, targets):
    """Captum's own call, with the layer as a module."""
    maps = LayerGradCam(logits, layer).attribute(
        batch.clone().requires_grad_(), target=torch.as_tensor(targets), relu_attributions=True
    )
    return LayerAttribution.interpolate(maps, tuple(batch.shape[2:]), "bilinear").detach().sum(1).numpy()


def no_hooks(network):
    return all(not part._forward_hooks and not part._backward_hooks for part in network.modules())


class Own(nn.Module):
    """The README's network, with parts that tests replace."""

    def __init__(self, gate=None, after=None, head=None):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.gate = gate or nn.Sequential(nn.Conv2d(8, 1, 1), nn.Sigmoid())
        self.after = after or nn.Identity()
        self.head = head or nn.Linear(8, 5)

    def forward(self, batch):
        features = self.first(batch)
        return self.head((features * self.after(self.gate(features))).mean((2, 3)))


TARGETS = [0, 3, 1]


class Gating(nn.Module):
    """A gate of two convolutions, called after whatever stands before it."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1), nn.Sigmoid()
        )

    def forward(self, features):
        return features * self.gate(features.mean(1, keepdim=True))


# Architecture, side of its images, the block that a gate is put behind, and its last convolution, named by hand.
CLASSIFIERS = [
    ("alexnet", 64, "features", "features.10"),
    ("convnext_tiny", 64, "features", "features.7.2.block.0"),
    ("densenet121", 64, "features", "features.denseblock4.denselayer16.conv2"),
    ("efficientnet_b0", 64, "features", "features.8.0"),
    ("googlenet", 64, "inception5b", "inception5b.branch4.1.conv"),  # auxiliary heads, not called
    ("inception_v3", 128, "Mixed_7c", "Mixed_7c.branch_pool.conv"),  # an auxiliary head, not called
    ("mnasnet0_5", 64, "layers", "layers.14"),
    ("mobilenet_v2", 64, "features", "features.18.0"),
    ("mobilenet_v3_small", 64, "features", "features.12.0"),  # convolutions of 1x1 maps in its blocks
    ("regnet_y_400mf", 64, "trunk_output", "trunk_output.block4.block4-5.f.c.0"),
    ("resnet18", 64, "layer4", "layer4.1.conv2"),
    ("shufflenet_v2_x0_5", 64, "conv5", "conv5.0"),
    ("squeezenet1_0", 64, "features", "classifier.1"),  # maps of the classes, before they are pooled
    ("vgg11", 64, "features", "features.18"),
]


def classifier(name):
    torch.manual_seed(0)
    quick = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, weights=None, num_classes=10, **quick).eval()


@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize(("name", "side", "block", "layer"), CLASSIFIERS, ids=[row[0] for row in CLASSIFIERS])
def test_grad_cam_of_torchvisions_classifiers_is_captums_own_with_the_layer_named_by_hand(
    name, side, block, layer, gated
):
    network = user = classifier(name)
    if gated:
        parent, _, last = block.rpartition(".")
        gating = Gating().eval()
        setattr(network.get_submodule(parent), last, nn.Sequential(network.get_submodule(block), gating))
        layer = layer.replace(block, f"{block}.0", 1) if layer.startswith(block) else layer
        user = with_attention(network, f"{block}.1.gate")
    batch = images(side)
    attribution = attribute(user, batch, TARGETS, "Grad-CAM")
    assert attribution.layer == layer
    expected = captums(network, network.get_submodule(layer), batch, TARGETS)
    assert expected.any()
    np.testing.assert_allclose(attribution.values, expected, rtol=1e-6, atol=1e-6 * abs(expected).max())
    named = attribute(user, batch, TARGETS, "Grad-CAM", layer=block)
    expected = captums(network, network.get_submodule(block), batch, TARGETS)
    np.testing.assert_allclose(named.values, expected, rtol=1e-6, atol=1e-6 * abs(expected).max())


def test_grad_cam_of_the_readmes_network_looks_before_the_gate(capsys):
    (code,) = (part for part in re.findall(r"```python\n(.*?)```", README, re.S) if "class Yours" in part)
    names = {"__name__": "readme"}
    torch.manual_seed(0)
    exec(code, names)
    model, batch, targets = names["model"], names["images"], names["answer"].logits.argmax(1)
    attribution = attribute(model, batch, targets, "Grad-CAM")
    network = model.module
    assert attribution.layer == "first" == last_convolution(network, batch)
    expected = captums(network, network.first, batch, targets)
    np.testing.assert_allclose(attribution.values, expected, rtol=1e-6, atol=1e-8)
    attention = names["answer"].attention.astype(np.float64)
    logit = np.log(attention / (1 - attention))
    for values, gate in zip(attribution.values, logit, strict=True):  # not A once more
        assert abs(np.corrcoef(values.ravel(), gate.ravel())[0, 1]) < 0.9


class Native(nn.Module):
    """(logits, A), with A as `returned` makes it of the A that was used."""

    def __init__(self, returned):
        super().__init__()
        self.own, self.returned = Own(), returned

    def forward(self, batch):
        features = self.own.first(batch)
        attention = self.own.gate(features)
        return self.own.head((features * attention).mean((2, 3))), self.returned(attention)


@pytest.mark.parametrize(
    "model",
    [
        with_attention(Own(), "gate"),
        with_attention(Own(), "gate.1"),  # the convolution stands outside the module that returns A
        with_attention(Own(nn.Sequential(nn.Conv2d(8, 1, 1), nn.Sigmoid()), nn.ReLU(inplace=True)), "gate"),
        with_attention(Own(), "after"),
        Native(lambda attention: attention),
        Native(torch.clone),
        Native(lambda attention: F.interpolate(attention, size=20)),
        Native(lambda attention: 1 - (1 - attention)),
    ],
    ids=["gate", "its last module", "in-place", "after", "used", "copied", "resized", "computed"],
)
def test_the_gates_own_convolution_is_never_the_default(model):
    assert last_convolution(model, images()).endswith("first")


def test_a_convolution_that_reaches_the_answer_only_through_the_gate_is_not_for_grad_cam():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1), nn.Sigmoid())
            self.head = nn.Linear(3, 5)

        def forward(self, batch):
            return self.head((batch * self.gate(batch)).mean((2, 3)))

    model = with_attention(Masked(), "gate")
    assert last_convolution(model, images()) is None
    with pytest.raises(ValueError, match="needs a convolution with a map of more than one place, not the gate's own"):
        attribute(model, images(), TARGETS, "Grad-CAM")
    assert attribute(model, images(), TARGETS, "Grad-CAM", layer="gate.0").layer == "gate.0"  # asked for by name


def test_a_detached_attention_does_not_reveal_the_gate():
    model = Native(torch.detach)
    with pytest.raises(ValueError, match=r"A comes without a gradient.* give Grad-CAM a layer by its name"):
        attribute(model, images(), TARGETS, "Grad-CAM")
    assert attribute(model, images(), TARGETS, "Grad-CAM", layer="own.first").values.any()
    assert last_convolution(Native(torch.ones_like), images()) == "own.first"  # A of 1 everywhere is no gate


@pytest.mark.parametrize(
    "after",
    [nn.Threshold(2.0, 0.0, inplace=True), nn.Hardtanh(0, 0.1, inplace=True), nn.Dropout(0.5, inplace=True)],
    ids=["threshold", "hardtanh", "dropout"],
)
def test_later_writes_into_the_attention_do_not_change_the_look(after):
    model, batch = with_attention(Own(after=after), "gate"), images()
    network = model.module.eval()
    with torch.no_grad():
        gate = network.gate(network.first(batch))
        answer = look(model, batch)
        np.testing.assert_allclose(answer.logits, network(batch).numpy(), atol=1e-6)
    np.testing.assert_allclose(answer.attention, gate[:, 0].numpy(), atol=1e-6)


class Odd(nn.Module):
    """Convolutions that are registered in another order than they are called in, or not called at all."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.late, self.early = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.head, self.unused = nn.Conv2d(4, 5, 1), nn.Conv2d(4, 9, 3)
        self.again = self.late
        self.ignored = nn.Conv2d(3, 5, 1)

    def forward(self, batch):
        features = self.late(F.relu(self.again(F.relu(self.early(batch)))))
        self.ignored(batch)  # called, and without effect
        return self.head(F.adaptive_avg_pool2d(features, 1)).flatten(1)


def test_the_default_layer_is_the_one_called_last_with_a_map_that_the_answer_depends_on():
    network, batch = Odd().eval(), images()
    attribution = attribute(network, batch, TARGETS, "Grad-CAM")
    assert attribution.layer == "late" and not attribution.level.any() and attribution.note == ""
    np.testing.assert_allclose(attribution.values, captums(network, network.late, batch, TARGETS), atol=1e-6)
    assert last_convolution(network, torch.randn(1, 3, 1, 1)) is None  # no map has more than one place


def test_a_level_map_is_never_without_a_note():
    network, batch = Odd().eval(), images()
    attribution = attribute(network, batch, TARGETS, "Grad-CAM", layer="head")
    np.testing.assert_allclose(attribution.values, captums(network, network.head, batch, TARGETS), atol=1e-6)
    assert attribution.level.all()
    assert attribution.note == (
        "Grad-CAM of head singles out no place in 3 of 3 images (1, 2, 3): the map is the same everywhere."
    )
    whole = attribute(network, batch, TARGETS, "occlusion", window=12)
    assert whole.level.all() and whole.note.startswith("occlusion singles out no place in 3 of 3 images")


def test_a_map_that_is_not_finite_has_a_note():
    class Root(nn.Module):
        def forward(self, batch):
            return batch.sqrt().sum((2, 3))  # of infinite slope at 0

    batch = images().abs() + 0.1
    batch[0, 0, 2, 2] = 0
    attribution = attribute(Root(), batch, [0, 1, 2], "saliency")
    assert attribution.level.tolist() == [True, False, False]
    assert attribution.note.endswith("1 of 3 images (1): the map is the same everywhere, or not finite.")
    assert attribution.scores[0].max() == 0 and np.isfinite(attribution.scores).all()


def test_maps_of_the_classes_are_their_own_grad_cam():
    """CAM (Zhou et al. 2016): where a map of each class is averaged into its logit, Grad-CAM is that map's ReLU."""

    class Maps(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.body, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 5, 1)

        def forward(self, batch):
            return self.head(F.relu(self.body(batch))).mean((2, 3))

    network, batch = Maps().eval(), images()
    attribution = attribute(network, batch, TARGETS, "Grad-CAM")
    assert attribution.layer == "head"
    with torch.no_grad():
        maps = F.relu(network.head(F.relu(network.body(batch))))[range(3), TARGETS].numpy()
    np.testing.assert_allclose(attribution.values, maps / 144, atol=1e-7)


@settings(deadline=None, max_examples=60)
@given(
    order=st.permutations(range(4)),
    called=st.integers(1, 4),
    strides=st.lists(st.sampled_from([1, 2, 4]), min_size=4, max_size=4),
    gated=st.integers(0, 4),
    side=st.sampled_from([1, 4, 9]),
)
def test_the_default_layer_of_any_chain_of_convolutions(order, called, strides, gated, side):
    """Registered in any order, any number of them called, a gate behind any of them or behind none."""

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = nn.ModuleList(nn.Conv2d(3, 3, 3, strides[stage], padding=1) for stage in range(4))
            self.gate = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Sigmoid())

        def forward(self, batch):
            hidden = batch
            for number, stage in enumerate(order[:called], start=1):
                hidden = self.stages[stage](hidden)
                if number == gated:
                    hidden = hidden * self.gate(hidden)
            return hidden.mean((2, 3))

    length, expected = side, None
    for stage in order[:called]:
        length = -(-length // strides[stage])
        expected = f"stages.{stage}" if length > 1 else expected
    network = Chain()
    model = with_attention(network, "gate") if 1 <= gated <= called else network
    assert last_convolution(model, images(side, 2)) == expected
    assert no_hooks(network)


def changed(name, part):
    network = Own()
    setattr(network, name, part)
    return with_attention(network, "gate")


class Returns(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, *_):
        return self.value


BATCH = images()
NAN, ENDLESS = BATCH.clone(), BATCH.clone()
NAN[1, 0, 2, 2] = torch.nan
ENDLESS[2, 0, 0, 0] = torch.inf


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (BATCH[0], r"images must be \[N, C, H, W\].*got \[3, 12, 12\]"),
        (BATCH[None], r"got \[1, 3, 3, 12, 12\]"),
        (BATCH[:0], r"at least one of each, got \[0, 3, 12, 12\]"),
        (BATCH[..., :0], r"got \[3, 3, 12, 0\]"),
        (BATCH.numpy(), r"images must be a tensor \[N, C, H, W\], got ndarray"),
        (NAN, "images must be finite, and image 1, counted from 0, is not"),
        (ENDLESS, "images must be finite, and image 2"),
        (BATCH[:, :1], r"does not take images \[3, 1, 12, 12\] of torch.float32 on cpu: .*3 channels"),
        (BATCH.bfloat16(), r"of torch.bfloat16 on cpu \(its weights are torch.float32 on cpu\)"),
        (BATCH.double(), r"of torch.float64 on cpu \(its weights are torch.float32 on cpu\)"),
        ((BATCH > 0).byte(), r"torch.uint8"),
    ],
)
@pytest.mark.parametrize("ask", [look, *METHODS], ids=lambda ask: getattr(ask, "__name__", ask))
def test_images_that_do_not_fit_are_named(batch, message, ask):
    model = with_attention(Own(), "gate")
    with pytest.raises(ValueError, match=message):
        look(model, batch) if ask is look else attribute(model, batch, TARGETS, ask)
    assert no_hooks(model)


def test_a_network_of_whole_numbers_has_a_look_and_no_attributions():
    class Bytes(Own):
        def forward(self, batch):
            return super().forward(batch / 255)

    model, batch = with_attention(Bytes(), "gate"), torch.randint(256, (3, 3, 12, 12), generator=seeded()).byte()
    np.testing.assert_array_equal(look(model, batch).attention, look(model, batch.float()).attention)
    with pytest.raises(ValueError, match=r"images must be floating-point to have a gradient, got torch.uint8"):
        attribute(model, batch, TARGETS, "saliency")


def test_a_network_on_another_device_is_named():
    model = with_attention(Own().to("meta"), "gate")
    with pytest.raises(
        ValueError, match=r"images \[3, 3, 12, 12\] of torch.float32 on cpu \(its weights are .* meta\)"
    ):
        look(model, images())


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, 1], r"one class per image, \[3\], got \[2\]"),
        ([[0, 1, 2]], r"\[3\], got \[1, 3\]"),
        (1, r"\[3\], got \[\]"),
        ([0, 1, 5], "classes from 0 to 4, got 0 to 5"),
        ([0, -1, 1], "classes from 0 to 4, got -1 to 1"),
        ([0.0, 1.0, 2.0], "whole numbers from 0 to 4, got torch.float32"),
        ([True, False, True], "whole numbers from 0 to 4, got torch.bool"),
        (torch.zeros(3, dtype=torch.complex64), "whole numbers from 0 to 4, got torch.complex64"),
        ([0, 1, 2**70], "targets must be 3 whole numbers from 0 to 4: "),
        (["0", "1", "2"], "targets must be 3 whole numbers from 0 to 4: "),
        ([[0], [1, 2], 3], "targets must be 3 whole numbers from 0 to 4: "),
        (None, "targets must be 3 whole numbers from 0 to 4: "),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_targets_that_do_not_fit_are_named(targets, message, method):
    model = with_attention(Own(), "gate")
    with pytest.raises(ValueError, match=message):
        attribute(model, images(), targets, method)
    assert no_hooks(model)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-3, 8), max_size=5), st.sampled_from([list, np.array, torch.tensor]))
def test_targets_are_accepted_exactly_where_each_is_a_class(targets, kind):
    model, fits = with_attention(Own(), "gate"), len(targets) == 3 and all(0 <= target < 5 for target in targets)
    with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="targets must be"):
        given_as = kind(targets)
        attribution = attribute(model, images(), given_as, "saliency")
        np.testing.assert_array_equal(attribution.values, attribute(model, images(), targets, "saliency").values)


@pytest.mark.parametrize("window", [0, -1, 13, 2.5, "3"])
@pytest.mark.parametrize("method", METHODS)
def test_a_window_that_does_not_fit_is_named(window, method):
    with pytest.raises(ValueError, match=r"window must be a whole number of pixels from 1 to 12, got"):
        attribute(Own(), images(), TARGETS, method, window=window)


@pytest.mark.parametrize("window", [1, 12, np.int64(5)])
def test_any_window_of_the_image_is_accepted(window):
    assert attribute(Own(), images(), TARGETS, "occlusion", window=window).values.shape == (3, 12, 12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("layer", "message"),
    [("gates", "layer 'gates': choose from first, gate, gate.0, gate.1, after, head"), ("", "layer '': choose")],
)
def test_a_missing_layer_is_named(method, layer, message):
    with pytest.raises(ValueError, match=message):
        attribute(with_attention(Own(), "gate"), images(), TARGETS, method, layer=layer)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("unused", "layer 'unused' was not called in the forward pass"),
        ("head.0", r"layer 'head.0' returns \[3, 5\]; Grad-CAM needs a map \[3, C, h, w\]"),
        ("pair", r"layer 'pair' returns no tensor; Grad-CAM needs a map"),
        ("ignored", "layer 'ignored': no gradient leads from the logits to it"),
        ("cut", "layer 'cut': no gradient leads from the logits to it"),
    ],
)
def test_a_layer_that_grad_cam_cannot_look_at_is_named(layer, message):
    class Layers(Own):
        def __init__(self):
            super().__init__(head=nn.Sequential(nn.Linear(8, 5)))
            self.unused, self.ignored, self.cut = (nn.Conv2d(3, 8, 1) for _ in range(3))
            self.pair = Returns((1, 2))

        def forward(self, batch):
            self.pair(batch), self.ignored(batch)
            return super().forward(batch) + self.cut(batch).mean().detach()

    with pytest.raises(ValueError, match=message):
        attribute(Layers(), images(), TARGETS, "Grad-CAM", layer=layer)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (changed("gate", nn.Conv2d(8, 8, 1)), r"A must be \[3, 1, h, w\], got \[3, 8, 12, 12\]"),
        (changed("gate", nn.Conv2d(8, 1, 1)), r"A must lie in \[0, 1\], got -"),
        (changed("gate", Returns(torch.rand(()))), r"A must be \[3, 1, h, w\], got \[\]"),
        (changed("gate", Returns(torch.rand(1, 1, 12, 12))), r"A must be \[3, 1, h, w\], got \[1, 1, 12, 12\]"),
        (changed("gate", Returns(torch.ones(3, 1, 12, 12) > 0)), "A must be a floating-point tensor.*torch.bool"),
        (Returns((torch.rand(3, 5), [0.5])), r"A must be a floating-point tensor \[3, 1, h, w\], got list of 1"),
        (Returns((torch.rand(3, 5), torch.rand(3, 1, 0, 4))), r"A must be \[3, 1, h, w\], got \[3, 1, 0, 4\]"),
        (Returns(torch.rand(3, 5)), r"must return \(logits, A\); with_attention"),
        (Returns((torch.rand(3, 5),) * 3), r"must return logits or \(logits, A\), got tuple of 3"),
        (Returns({"logits": torch.rand(3, 5)}), r"must return logits or \(logits, A\), got dict"),
        (Returns(torch.ones(3, 5, dtype=torch.int64)), r"must return logits or .* got a tensor of torch.int64"),
        (Returns(torch.rand(3)), r"logits must be \[3, K\], got \[3\]"),
        (Returns(torch.rand(2, 5)), r"logits must be \[3, K\], got \[2, 5\]"),
        (Returns(torch.rand(3, 0)), r"logits must be \[3, K\], got \[3, 0\]"),
        (Returns(torch.full((3, 5), torch.nan)), "logits must be numbers, and some are NaN"),
    ],
)
def test_a_network_without_logits_or_attention_is_named(model, message):
    with pytest.raises(ValueError, match=message):
        look(model, images())
    assert no_hooks(model)


def test_a_gate_is_called_once_in_a_network_that_returns_logits_alone():
    class Twice(Own):
        def forward(self, batch):
            self.gate(self.first(batch.flip(-1)))
            return super().forward(batch)

    class Never(Own):
        def forward(self, batch):
            return self.head(self.first(batch).mean((2, 3)))

    for kind, message in ((Twice, "'gate' was called 2 times"), (Never, "'gate' was not called")):
        for ask in (look, lambda model, batch: attribute(model, batch, TARGETS, "saliency")):
            with pytest.raises(ValueError, match=message):
                ask(with_attention(kind(), "gate"), images())
    with pytest.raises(ValueError, match="a network that returns logits alone, and this one returns a tuple"):
        look(with_attention(Native(torch.clone), "own.gate"), images())
    with pytest.raises(ValueError, match="layer 'gate': this network has no inner modules"):
        with_attention(Returns(0), "gate")
    for name in ("gates", "", "module.gate"):
        with pytest.raises(ValueError, match="choose from first, gate"):
            with_attention(Own(), name)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_without_a_gradient_is_named(method):
    class Blind(Own):
        def forward(self, batch):
            with torch.no_grad():
                return super().forward(batch)

    if method == "occlusion":  # which needs none
        assert attribute(Blind(), images(), TARGETS, method).values.any()
        return
    with pytest.raises(ValueError, match=r"needs a gradient|needs a convolution"):
        attribute(Blind(), images(), TARGETS, method)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_that_answers_but_has_no_attributions_is_named(method):
    class Undone(Own):
        """Writes over what its gradient needs."""

        def forward(self, batch):
            features = torch.relu(self.first(batch))
            features[:, :4].mul_(self.gate(features))
            return self.head(features.mean((2, 3)))

    class Three(Own):
        """Of three images, no more."""

        def forward(self, batch):
            return super().forward(batch.reshape(3, 3, 12, 12))

    network = {"occlusion": Three, "integrated gradients": Three}.get(method, Undone)()
    assert look(with_attention(network, "gate"), images()).attention.shape == (3, 12, 12)
    with pytest.raises(ValueError, match=f"{method} fails in this network, although it answers: "):
        attribute(with_attention(network, "gate"), images(), TARGETS, method)
    assert no_hooks(network)


def test_grad_cam_needs_no_gradient_of_the_images():
    class Frozen(Own):
        """As in a network whose first layers are not trained."""

        def forward(self, batch):
            return super().forward(batch.detach())

    network, batch = Frozen().eval(), images()
    attribution = attribute(network, batch, TARGETS, "Grad-CAM", layer="first")
    np.testing.assert_allclose(attribution.values, captums(network, network.first, batch, TARGETS), atol=1e-7)
    with pytest.raises(ValueError, match="saliency needs a gradient, and none leads from the logits to the images"):
        attribute(network, batch, TARGETS, "saliency")


def answers_of(model, batch, layer=None):
    """All looks and attributions."""
    answer = look(model, batch)
    yield answer.attention
    yield answer.logits
    for method in METHODS:
        yield attribute(model, batch, TARGETS, method, layer).values


def compiled_in_place(network):
    network.compile(backend="eager")
    return network


def compiled_inside():
    network = Own()
    network.gate = torch.compile(network.gate, backend="eager")
    return network


WRAPPED = {
    "DataParallel": lambda: with_attention(nn.DataParallel(Own()), "gate"),
    "DataParallel of all": lambda: nn.DataParallel(with_attention(Own(), "gate")),
    "compiled": lambda: with_attention(torch.compile(Own(), backend="eager"), "gate"),
    "compiled, all": lambda: torch.compile(with_attention(Own(), "gate"), backend="eager"),
    "compiled in place": lambda: with_attention(compiled_in_place(Own()), "gate"),
    "compiled inside": lambda: with_attention(compiled_inside(), "gate"),
    "frozen": lambda: with_attention(Own().requires_grad_(False), "gate"),
    "training": lambda: with_attention(Own().train(), "gate"),
    "channels last": lambda: with_attention(Own().to(memory_format=torch.channels_last), "gate"),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_wrapper_changes_no_answer(kind):
    batch, model = images(), WRAPPED[kind]()
    modes = [part.training for part in model.modules()]
    expected = answers_of(with_attention(Own(), "gate"), batch)
    if "channels" in kind:
        batch = batch.to(memory_format=torch.channels_last)
    for values, others in zip(answers_of(model, batch), expected, strict=True):
        np.testing.assert_allclose(values, others, rtol=1e-4, atol=1e-6)
    assert [part.training for part in model.modules()] == modes
    assert no_hooks(model)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("wanting", [False, True])
def test_the_gradient_mode_changes_no_answer(context, wanting):
    model = with_attention(Own(), "gate")
    expected = list(answers_of(model, images()))
    with context():
        batch = images()
        if wanting:
            batch.requires_grad_()
        for values, others in zip(answers_of(model, batch), expected, strict=True):
            np.testing.assert_allclose(values, others, rtol=1e-4, atol=1e-6)
        assert not torch.is_grad_enabled() or context is torch.enable_grad
    assert batch.grad is None and batch.requires_grad == wanting


def test_weights_that_can_have_no_gradient_are_named():
    with torch.inference_mode():
        model = with_attention(Own(), "gate")
    assert look(model, images()).attention.shape == (3, 12, 12)
    with pytest.raises(ValueError, match="Inference tensors cannot be saved for backward"):
        attribute(model, images(), TARGETS, "saliency")


@pytest.mark.parametrize(
    ("dtype", "places"), [(torch.bfloat16, 2.0**-8), (torch.float16, 2.0**-11), (torch.float64, 2.0**-24)]
)
def test_other_types_of_numbers_are_answered_in_float32(dtype, places):
    """To the precision of the type: an occlusion is a small difference of logits, each rounded to its places."""
    batch = images()
    expected = list(answers_of(with_attention(Own(), "gate"), batch))
    largest = abs(expected[1]).max()
    for values, others in zip(
        answers_of(with_attention(Own().to(dtype), "gate"), batch.to(dtype)), expected, strict=True
    ):
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, others, atol=8 * places * largest, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_that_writes_into_its_images_leaves_the_callers_untouched(method):
    class Writes(Own):
        def forward(self, batch):
            batch.sub_(0.5)
            return super().forward(batch)

    class Plain(Own):
        def forward(self, batch):
            return super().forward(batch - 0.5)

    batch = images()
    copy = batch.clone()
    attribution = attribute(with_attention(Writes(), "gate"), batch, TARGETS, method)
    look(with_attention(Writes(), "gate"), batch)
    assert torch.equal(batch, copy)
    expected = attribute(with_attention(Plain(), "gate"), batch, TARGETS, method)
    np.testing.assert_allclose(attribution.values, expected.values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ask", [look, *METHODS], ids=lambda ask: getattr(ask, "__name__", ask))
def test_a_network_that_fails_is_left_as_it_was(ask):
    class Fails(Own):
        def forward(self, batch):
            super().forward(batch)
            raise KeyError("its own fault")

    network = Fails().train()
    network.head.eval()
    modes = [part.training for part in network.modules()]
    model = with_attention(network, "gate")
    with pytest.raises(KeyError, match="its own fault"):  # not ours to rename
        look(model, images()) if ask is look else attribute(model, images(), TARGETS, ask, layer="first")
    assert no_hooks(model) and [part.training for part in network.modules()] == modes


def test_names_start_at_the_network_or_at_its_wrapper():
    network = Own()
    for model in (network, with_attention(network, "gate"), nn.DataParallel(network)):
        assert layer_of(model, "gate.0") is network.gate[0]
    assert layer_of(with_attention(network, "gate"), "module.first") is network.first
    empty = nn.Sequential()
    network.empty = empty
    assert layer_of(network, "empty") is empty
