"""The mask bench: the method's own attack on chosen images, and how A answers changes of an image."""

import numpy as np
import pytest
import torch

from arli_core import metrics, tasks
from arli_core.answers import answers_of
from arli_core.attack import MASKS
from arli_core.attention import learned, masks_of
from arli_core.attribution import METHODS
from arli_core.bench import attributions, drift, sensitivity, strike
from arli_core.learn import learn
from arli_core.tasks import Pool


@pytest.fixture(scope="module")
def record(trained):
    return trained("digits", 2)


@pytest.fixture(scope="module")
def scenes(trained):
    # One linear convolution before A: an inverted image draws the same attention. Of deeper networks that is not so.
    return trained("scenes", 1, **{"network.name": "conv"})


def chosen(record, count=6):
    found = masks_of(record)
    at = found.spread(count)
    return learned(record), found.images[at], found.units[at], None if found.objects is None else found.objects[at]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("steps", [1, 4])
def test_an_attack_is_told_in_pixels_and_keeps_its_bounds(scenes, mask, steps):
    run, images, targets, _ = chosen(scenes)
    found = strike(run, images, 0.1, targets, steps, mask=mask)
    assert found.attention.shape == found.background.shape == (6, 40, 40)
    assert found.delta.shape == found.applied.shape == found.attacked.shape == (6, 3, 40, 40)
    assert abs(found.delta).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(found.applied, found.background[:, None] * found.delta, atol=1e-6)
    np.testing.assert_allclose(found.attacked, (images / 255 + found.applied).clip(0, 1), atol=1e-5)
    assert found.let_through == pytest.approx(abs(found.applied).sum() / abs(found.delta).sum())
    assert found.before.shape == found.after.shape == (6, 2)


def test_answers_and_attention_are_the_runs_own(record):
    found = masks_of(record)
    run = learned(record)
    done = strike(run, found.images, 0.03)
    np.testing.assert_allclose(done.attention, found.attention, atol=1e-6)
    assert tuple(run.classes[unit] for unit in done.before.argmax(1)) == found.predictions
    np.testing.assert_array_equal(done.targets, done.before.argmax(1))  # nobody told the classes


def test_no_attack_changes_nothing_and_a_seed_settles_it(record):
    run, images, targets, _ = chosen(record)
    none = strike(run, images, 0.0, targets)
    np.testing.assert_allclose(none.after, none.before, atol=1e-4)
    assert np.isnan(none.let_through)
    one, two, other = (strike(run, images, 0.1, targets, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.delta, two.delta)
    assert not np.array_equal(one.delta, other.delta)


def test_more_steps_and_strength_raise_the_loss(record):
    run, images, targets, _ = chosen(record, 40)

    def loss(found):
        return float(torch.nn.functional.cross_entropy(torch.tensor(found.after), torch.tensor(targets)))

    weak, strong = (strike(run, images, epsilon, targets, steps=5) for epsilon in (0.02, 0.3))
    assert loss(strike(run, images, 0.0, targets)) < loss(weak) < loss(strong)


def test_an_unknown_mask_is_named(record):
    run, images, targets, _ = chosen(record)
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
def test_what_an_attack_cannot_be_is_named(record, settings, message):
    run, images, targets, _ = chosen(record)
    with pytest.raises(ValueError, match=message):
        strike(**{"run": run, "images": images, "epsilon": 0.1, "targets": targets, **settings})


def test_every_method_of_captum_is_asked_where_the_network_lets_it(record, trained):
    run, images, targets, _ = chosen(record)
    assert [each.method for each in attributions(run, images, targets)] == list(METHODS)
    flat = trained("digits", 1, **{"network.name": "mlp", "network.attention": "released"})
    run, images, targets, _ = chosen(flat)
    assert "Grad-CAM" not in [each.method for each in attributions(run, images, targets)]


def test_drift_is_the_attention_of_the_same_images_after_each_task(record):
    _, images, _, _ = chosen(record)
    tasks, maps = drift(record, images)
    assert tasks.tolist() == [1, 2] and maps.shape == (2, 6, 8, 8)
    for task, found in zip(tasks, maps, strict=True):
        np.testing.assert_allclose(strike(learned(record, task), images, 0.0).attention, found, atol=1e-6)
    assert abs(maps[0] - maps[1]).max() > 1e-4


def test_what_moves_attention_and_what_does_not(scenes):
    run, images, _, objects = chosen(scenes, 8)
    found = {each.change: each for each in sensitivity(run, images, objects)}
    assert list(found) == [
        *("alone, not in this batch", "brighter by 20 %", "darker by 20 %", "half the contrast", "inverted"),
        "shifted by a tenth",
    ]
    for change in ("alone, not in this batch", "inverted"):  # so the default attention is built
        assert found[change].difference < 1e-5
        assert found[change].correlation == pytest.approx(1)
    auroc = float(metrics.auroc(strike(run, images, 0.0).attention, objects).mean())
    assert found["alone, not in this batch"].auroc == pytest.approx(auroc, abs=1e-6)
    assert found["shifted by a tenth"].correlation > 0.8
    assert all(0 <= each.same_answer <= 1 for each in found.values())
    plain = sensitivity(run, images, None)
    assert [each.auroc for each in plain] == [None] * 6


def test_batch_mates_move_the_released_attention_only_while_training(record, trained):
    """In evaluation mode its running statistics stand in, so the bench sees no difference; the default has none."""
    released = trained("digits", 1, **{"network.attention": "released"})
    run, images, _, _ = chosen(released)
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

    monkeypatch.setattr(tasks, "Pool", Seen)
    run, images, units, objects = chosen(record)
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
