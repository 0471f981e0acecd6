"""The mask bench: the method's own attack on chosen images, and how A responds to changes of an image."""

import numpy as np
import pytest
import torch

from arli_core import stream
from arli_core.analysis.answers import answers_of
from arli_core.analysis.attribution import METHODS
from arli_core.analysis.bench import attributions, drift, sensitivity, strike
from arli_core.analysis.masks import learned, masks_of
from arli_core.learn import learn
from arli_core.stream import Pool
from arli_core.theory import metrics
from arli_core.theory.attack import MASKS


@pytest.fixture(scope="module")
def record(trained):
    return trained("digits", 2)


@pytest.fixture(scope="module")
def scenes(trained):
    # One linear convolution before A: an inverted image draws the same attention. In deeper networks it does not.
    return trained("scenes", 1, **{"network.name": "conv"})


def loaded(record, count=6):
    masks = masks_of(record)
    at = masks.spread(count)
    return learned(record), masks.images[at], masks.units[at], None if masks.objects is None else masks.objects[at]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("steps", [1, 4])
def test_an_attack_is_in_pixel_units_and_within_its_bounds(scenes, mask, steps):
    run, images, targets, _ = loaded(scenes)
    attacked = strike(run, images, 0.1, targets, steps, mask=mask)
    assert attacked.attention.shape == attacked.background.shape == (6, 40, 40)
    assert attacked.delta.shape == attacked.applied.shape == attacked.attacked.shape == (6, 3, 40, 40)
    assert abs(attacked.delta).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(attacked.applied, attacked.background[:, None] * attacked.delta, atol=1e-6)
    np.testing.assert_allclose(attacked.attacked, (images / 255 + attacked.applied).clip(0, 1), atol=1e-5)
    assert attacked.let_through == pytest.approx(abs(attacked.applied).sum() / abs(attacked.delta).sum())
    assert attacked.before.shape == attacked.after.shape == (6, 2)


def test_answers_and_attention_are_the_runs_own(record):
    masks = masks_of(record)
    run = learned(record)
    attacked = strike(run, masks.images, 0.03)
    np.testing.assert_allclose(attacked.attention, masks.attention, atol=1e-6)
    assert tuple(run.classes[unit] for unit in attacked.before.argmax(1)) == masks.predictions
    np.testing.assert_array_equal(attacked.targets, attacked.before.argmax(1))  # no classes were given


def test_epsilon_zero_changes_nothing_and_a_seed_determines_the_attack(record):
    run, images, targets, _ = loaded(record)
    none = strike(run, images, 0.0, targets)
    np.testing.assert_allclose(none.after, none.before, atol=1e-4)
    assert np.isnan(none.let_through)
    first, again, other = (strike(run, images, 0.1, targets, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.delta, again.delta)
    assert not np.array_equal(first.delta, other.delta)


def test_more_steps_and_strength_raise_the_loss(record):
    run, images, targets, _ = loaded(record, 40)

    def loss(attacked):
        return float(torch.nn.functional.cross_entropy(torch.tensor(attacked.after), torch.tensor(targets)))

    weak, strong = (strike(run, images, epsilon, targets, steps=5) for epsilon in (0.02, 0.3))
    assert loss(strike(run, images, 0.0, targets)) < loss(weak) < loss(strong)


def test_an_unknown_mask_is_named(record):
    run, images, targets, _ = loaded(record)
    with pytest.raises(ValueError, match="mask 'none': choose from 1 − A∘A, 1 − A, A < 1/2"):
        strike(run, images, 0.1, targets, mask="none")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": -0.1}, r"epsilon must be in \[0, 1\] of the pixel range, got -0.1"),
        ({"epsilon": float("nan")}, "epsilon must be in"),
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        ({"targets": [0, 1]}, r"one class per image, \[6\], got \[2\]"),
        ({"targets": [0, 1, 0, 1, 0, 9]}, "targets must be classes from 0 to 3, got 0 to 9"),
        ({"images": np.empty((0, 1, 8, 8), np.uint8)}, "images must be .* at least one of each"),
    ],
)
def test_invalid_attacks_are_named(record, settings, message):
    run, images, targets, _ = loaded(record)
    with pytest.raises(ValueError, match=message):
        strike(**{"run": run, "images": images, "epsilon": 0.1, "targets": targets, **settings})


def test_every_method_of_captum_is_used_where_the_network_allows_it(record, trained):
    run, images, targets, _ = loaded(record)
    assert [attribution.method for attribution in attributions(run, images, targets)] == list(METHODS)
    flat = trained("digits", 1, **{"network.name": "mlp", "network.attention": "released"})
    run, images, targets, _ = loaded(flat)
    assert "Grad-CAM" not in [attribution.method for attribution in attributions(run, images, targets)]


def test_drift_is_the_attention_of_the_same_images_after_each_task(record):
    _, images, _, _ = loaded(record)
    tasks, maps = drift(record, images)
    assert tasks.tolist() == [1, 2] and maps.shape == (2, 6, 8, 8)
    for task, attention in zip(tasks, maps, strict=True):
        np.testing.assert_allclose(strike(learned(record, task), images, 0.0).attention, attention, atol=1e-6)
    assert abs(maps[0] - maps[1]).max() > 1e-4


def test_what_moves_attention_and_what_does_not(scenes):
    run, images, _, objects = loaded(scenes, 8)
    moves = {move.change: move for move in sensitivity(run, images, objects)}
    assert list(moves) == [
        *("seen alone, not in this batch", "brighter by 20%", "darker by 20%", "half the contrast", "inverted"),
        "shifted by a tenth",
    ]
    for change in ("seen alone, not in this batch", "inverted"):  # so the default attention is built
        assert moves[change].difference < 1e-5
        assert moves[change].correlation == pytest.approx(1)
    auroc = float(metrics.auroc(strike(run, images, 0.0).attention, objects).mean())
    assert moves["seen alone, not in this batch"].auroc == pytest.approx(auroc, abs=1e-6)
    assert moves["shifted by a tenth"].correlation > 0.8
    assert all(0 <= move.same_answer <= 1 for move in moves.values())
    plain = sensitivity(run, images, None)
    assert [move.auroc for move in plain] == [None] * 6


def test_other_images_move_the_released_attention_only_in_training(record, trained):
    """In evaluation mode its running statistics stand in, so the bench sees no difference; the default has none."""
    released = trained("digits", 1, **{"network.attention": "released"})
    run, images, _, _ = loaded(released)
    assert sensitivity(run, images, None)[0].difference < 1e-5
    x = run.normalised(images)
    whole = run.model.train(run.phi, x)[1]
    alone = torch.cat([run.model.train(run.phi, x[n : n + 1])[1] for n in range(len(x))])
    assert abs(whole - alone).max() > 1e-3
    run = learned(record)
    whole = run.model.train(run.phi, x)[1]
    alone = torch.cat([run.model.train(run.phi, x[n : n + 1])[1] for n in range(len(x))])
    assert abs(whole - alone).max() < 1e-6


def test_looking_brings_no_training_sample_to_the_device(record, monkeypatch):
    pools = []

    class Seen(Pool):
        def __init__(self, split, *rest):
            pools.append(split)
            super().__init__(split, *rest)

    monkeypatch.setattr(stream, "Pool", Seen)
    run, images, units, objects = loaded(record)
    answers_of(record, 2)
    assert pools == [run.stream.dataset.test] * 2  # for the masks and for the answers
    del pools[:]
    run = learned(record)
    strike(run, images, 0.1, units)
    sensitivity(run, images, objects)
    drift(record, images)
    assert not pools  # the images are given
    for _ in learn(record.config.model_copy(update={"data": record.config.data.model_copy(update={"tasks": 1})})):
        pass
    assert record.config.data.name == "digits" and run.stream.dataset.train in pools
