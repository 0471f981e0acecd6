"""The commands that look at attention: `figure9` draws masks, `masks` measures them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .. import records
from ..config import Ari, AriReleased
from ..records import Record
from .options import AsJson, DataRoot, Run, print_json, rounded, write_out


def figure9(
    run: Run,
    out: Annotated[Path, typer.Option(metavar="FIG", help="The file to write: .png, .pdf or .svg.")],
    images: Annotated[int, typer.Option(min=1, max=40, help="How many held-out images to draw.")] = 8,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Draw attention and background masks as in Figure 9 of the paper."""
    from .. import figures

    kind = figures.kind_of(out)
    record = records.load(run)
    from ..analysis.masks import masks_of  # imports torch: only when the rest is in order
    from ..theory.metrics import known_mean

    masks = masks_of(record)
    content = figures.export(figures.figure9(masks, masks.spread(images)), kind)
    write_out(out, content)
    per_image = None if masks.auroc is None else [_finite(value) for value in masks.auroc]
    mean = None if masks.auroc is None else _finite(known_mean(masks.auroc))
    if as_json:
        print_json({"file": str(out), "task": masks.task, "auroc_mean": mean, "auroc_per_image": per_image})
        return
    typer.echo(f"{out}: {min(images, len(masks))} of {len(masks)} held-out images, after task {masks.task}")
    auroc = "not known: these images have no object masks" if mean is None else f"{mean:.3f}, mean over all images"
    typer.echo(f"AUROC of attention against the object: {auroc}")


def masks(
    run: Run,
    task: Annotated[
        int | None, typer.Option(help="Task after which to look, counted from 1; by default the last one done.")
    ] = None,
    images: Annotated[
        int, typer.Option(min=1, max=1000, help="How many held-out images, spread evenly over the classes.")
    ] = 16,
    epsilon: Annotated[
        float | None, typer.Option(min=0, max=1, help="Strength of the attack; by default the run's own, or 0.03.")
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="For coverage and overlap.")] = 0.5,
    captum: Annotated[bool, typer.Option("--captum", help="Also measure Captum's methods.")] = False,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Measure attention masks: quality, the attack's effect, drift over the tasks, what changes A."""
    record = records.load(run)
    if record.note:
        typer.echo(record.note, err=True)
    measures = _masks(record, task, images, epsilon, threshold, captum)
    if as_json:
        print_json(measures)
        return
    suffix = "" if measures["objects"] else "; where the objects are is not known"
    typer.echo(
        f"after task {measures['task']}: {measures['images']} of {measures['held_out']} held-out images{suffix}"
    )
    tables = {"A": measures["merits"], **measures["captum"]}
    width = max(map(len, tables))
    typer.echo(" " * width + "".join(f"{key:>12}" for key in measures["merits"]))
    for name, merits in tables.items():
        typer.echo(f"{name:<{width}}" + "".join(f"{rounded(value):>12}" for value in merits.values()))
    for note in measures["captum_notes"]:
        typer.echo(note)
    attack = measures["attack"]
    typer.echo(
        f"\nattack of eps {attack['epsilon']:g}: correct {rounded(attack['correct_before'])} before, "
        f"{rounded(attack['correct_after'])} after; B lets through {rounded(attack['let_through'])} of it"
    )
    if measures["drift"]:
        typer.echo(f"AUROC after each task: {', '.join(map(rounded, measures['drift']))}")
    typer.echo("\nwhat changes A: correlation with A before, AUROC after, same answers")
    for change in measures["stability"]:
        figures = "".join(f"{rounded(change[key]):>8}" for key in ("correlation", "auroc", "same_answer"))
        typer.echo(f"{change['change']:<26}{figures}")
    if measures["worst"]:
        typer.echo(f"\nworst: {', '.join(f'{label} ({value:.2f})' for label, value in measures['worst'])}")


def _masks(
    record: Record, task: int | None, count: int, epsilon: float | None, threshold: float, captum: bool
) -> dict[str, Any]:
    """Plain JSON values; means over the `count` images."""
    from ..analysis import bench  # imports torch: only when the run is in order
    from ..analysis.masks import learned, masks_of
    from ..theory.metrics import known_mean, merits

    config = record.config
    run, masks = learned(record, task), masks_of(record, task)
    indices = masks.spread(count)
    images, targets = masks.images[indices], masks.units[indices]
    objects = None if masks.objects is None else masks.objects[indices]

    def means(maps: Any) -> dict[str, float | None]:
        return {key: _finite(known_mean(values)) for key, values in merits(maps, objects, threshold).items()}

    if epsilon is None:
        epsilon = config.attack.epsilon if isinstance(config, Ari | AriReleased) else 0.03
    strike = bench.strike(run, images, epsilon, targets)
    attributions = list(bench.attributions(run, images, targets)) if captum else []
    auroc = np.array([]) if masks.auroc is None else masks.auroc[indices]
    order = [at for at in auroc.argsort()[:5] if np.isfinite(auroc[at])]
    worst = [(masks.labels[indices[at]], float(auroc[at])) for at in order]
    drift = []
    if objects is not None:
        drift = [_finite(known_mean(merits(maps, objects)["auroc"])) for maps in bench.drift(record, images)[1]]
    return {
        "task": masks.task,
        "images": len(indices),
        "held_out": len(masks),
        "objects": objects is not None,
        "merits": means(masks.attention[indices]),
        "captum": {attribution.method: means(attribution.scores) for attribution in attributions},
        "captum_notes": [attribution.note for attribution in attributions if attribution.note],
        "attack": {
            "epsilon": epsilon,
            "correct_before": float((strike.before.argmax(1) == targets).mean()),
            "correct_after": float((strike.after.argmax(1) == targets).mean()),
            "let_through": strike.let_through if epsilon else None,
        },
        "drift": drift,
        "stability": [_plain(asdict(change)) for change in bench.sensitivity(run, images, objects)],
        "worst": worst,
    }


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: _finite(value) if isinstance(value, float) else value for key, value in row.items()}
