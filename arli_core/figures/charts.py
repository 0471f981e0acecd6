"""Bars, lines, intervals and the unit disc."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..theory.intervals import Interval
from .canvas import BLUE, ORANGE, RED, VIOLET, bare_axes, in_ink, looks, summary_of, typeset


def bars(
    groups: Mapping[str, NDArray[np.float64]],
    names: Sequence[str],
    what: str,
    top: float | None = None,
    ink: str = "black",
) -> Figure:
    """One to three named groups of values [N] side by side as bars; `what` names the quantity.

    top: where the axis ends, so that two pictures can be compared; by default above the highest bar.
    """
    summary = "; ".join(f"{name}: {summary_of(names, values)}" for name, values in groups.items())
    figure, axes = bare_axes((4.2, 2.9), ink, f"{what} as bars, {summary}")
    width = 0.8 / len(groups)
    for at, (name, values, colour) in enumerate(zip(groups, groups.values(), (BLUE, ORANGE, VIOLET), strict=False)):
        axes.bar(np.arange(len(names)) - 0.4 + (at + 0.5) * width, values, width, color=colour, label=name)
    step = 1 if len(names) <= 12 else 10  # as many names as can be read
    axes.set_xticks(range(0, len(names), step), names[::step], fontsize=11)
    axes.set_ylabel(what)
    axes.set_ylim(0, top or 1.3 * max(float(np.nanmax(values)) for values in groups.values()) or 1)
    if len(groups) > 1:
        axes.legend(labelcolor=ink, frameon=False, loc="upper left", ncols=len(groups))
    return figure


def unit_disc(eigenvalues: NDArray[np.complex128], ink: str = "black") -> Figure:
    """Eigenvalues on the complex unit disc: the first red, the others blue, |lambda_2| as a dashed circle."""
    summary = ", ".join(f"{value:.3g}" for value in eigenvalues)
    figure, axes = bare_axes((3.1, 3.1), ink, f"Eigenvalues in the complex unit disc: {summary}")
    angle = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angle), np.sin(angle), color=ink, linewidth=1)
    axes.axhline(0, color=ink, linewidth=0.5)
    axes.axvline(0, color=ink, linewidth=0.5)
    if len(eigenvalues) > 1:
        second = abs(eigenvalues[1])
        circle = (second * np.cos(angle), second * np.sin(angle))
        axes.plot(*circle, color=BLUE, linewidth=1, linestyle="--", label="|λ₂|")
    # The blue dots are much smaller and on top: where lambda = 1 occurs twice, both dots can be seen.
    first, others = eigenvalues[:1], eigenvalues[1:]
    axes.scatter(first.real, first.imag, s=170, color=RED, edgecolor=ink, linewidth=0.8, zorder=3, label="λ = 1")
    axes.scatter(others.real, others.imag, s=35, color=BLUE, edgecolor=ink, linewidth=0.6, zorder=4, label="others")
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal", xlabel="real part", ylabel="imaginary part")
    axes.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    figure.legend(
        labelcolor=ink, frameon=False, loc="outside upper center", ncols=3, columnspacing=1, handlelength=1.2
    )
    return figure


def limit_weights(
    measured: NDArray[np.float64], closed_form: NDArray[np.float64] | None, names: Sequence[str], ink: str = "black"
) -> Figure:
    """The left eigenvector pi [m] as bars, its closed form, where there is one, as dots, and the equal share 1/m."""
    figure, axes = bare_axes((3.7, 3.1), ink, f"Weights in the limit as bars: {summary_of(names, measured)}")
    axes.bar(range(len(names)), measured, color=BLUE, label="left eigenvector π, computed")
    if closed_form is not None:
        axes.scatter(range(len(names)), closed_form, color=RED, zorder=3, label="row sums of dif / sum of dif")
    _shares(axes, names, max(measured.max(), 1 / len(names)), "weight in the limit", ink)
    return figure


def fusion_weights(rows: Mapping[str, NDArray[np.float64]], names: Sequence[str], ink: str = "black") -> Figure:
    """The models' weights [m] in phi_f as bars, one or two named rows of them side by side."""
    summary = "; ".join(f"{name}: {summary_of(names, weights)}" for name, weights in rows.items())
    figure, axes = bare_axes((4.6, 2.9), ink, f"Weights in phi_f as bars, {summary}")
    width = 0.8 / len(rows)
    for at, (name, weights, colour) in enumerate(zip(rows, rows.values(), (BLUE, ORANGE), strict=False)):
        axes.bar(np.arange(len(names)) - 0.4 + (at + 0.5) * width, weights, width, color=colour, label=name)
    _shares(axes, names, max(row.max() for row in rows.values()), "weight in $φ_f$", ink)
    return figure


def _shares(axes: Axes, names: Sequence[str], highest: float, what: str, ink: str) -> None:
    """For all bars of weights: the equal share 1/m as a dashed line, the models' names, room for the legend."""
    axes.axhline(1 / len(names), color=ink, linewidth=1, linestyle="--", label=f"equal share 1/{len(names)}")
    axes.set_xticks(range(len(names)), [typeset(name) for name in names], fontsize=13)
    axes.set_ylabel(what)
    axes.set_ylim(0, 1.5 * highest)
    axes.legend(labelcolor=ink, frameon=False, loc="upper right")


def intervals(
    rows: Mapping[str, tuple[Interval, Sequence[float]]],
    what: str,
    reference: str | None = None,
    within: float | None = None,
    ink: str = "black",
) -> Figure:
    """By name, from the top down, an interval as a bar, its mean as a dot, and its values as faint dots.

    The reference is orange, its mean a dashed line. Without one, rows are differences: the line is at 0, and means
    have a sign. within: how far from the line is drawn; arrows point at means that lie farther off.
    """
    summary = ", ".join(
        f"{name} {interval.mean:.3f}" for name, (interval, _) in rows.items() if interval.mean is not None
    )
    figure, axes = bare_axes((5.4, 0.9 + 0.34 * max(len(rows), 3)), ink, f"{what}, means with intervals: {summary}")
    centre = rows[reference][0].mean if reference else 0.0
    numbers = [number for interval, values in rows.values() for number in (interval.low, interval.high, *values)]
    ends = [number for number in numbers if number is not None]
    if within is not None and centre is not None:
        axes.set_xlim(centre - within, centre + within)
    elif ends:
        margin = 0.04 * (max(ends) - min(ends) or 1)
        axes.set_xlim(min(ends) - margin, max(ends) + margin)
    if centre is not None and axes.get_xlim()[0] <= centre <= axes.get_xlim()[1]:
        axes.axvline(centre, color=ORANGE if reference else ink, linewidth=1, linestyle="--", zorder=0)
    for at, (name, (interval, values)) in enumerate(rows.items()):
        _interval(axes, at, interval, values, ORANGE if name == reference else BLUE, bool(reference), ink)
    axes.set_yticks(range(len(rows)), [name.replace(" ", "\n", 1) for name in rows])
    for label in axes.get_yticklabels():
        label.set_fontsize(9 if "\n" in label.get_text() else 10)
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=what)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _interval(
    axes: Axes, at: int, interval: Interval, values: Sequence[float], colour: str, plain: bool, ink: str
) -> None:
    """A row of `intervals`, its mean written at the right; plain: without a sign."""
    if interval.mean is None:
        return
    left, right = axes.get_xlim()
    axes.text(1.01, at, f"{interval.mean:{'' if plain else '+'}z.3f}", color=ink, fontsize=9, va="center",
              transform=axes.get_yaxis_transform())  # fmt: skip
    if not left <= interval.mean <= right:
        edge, marker = (0.015, "<") if interval.mean < left else (0.985, ">")
        axes.plot(edge, at, marker, color=colour, markersize=9, transform=axes.get_yaxis_transform())
        return
    axes.scatter(values, [at + 0.25] * len(values), s=12, color=colour, alpha=0.6, linewidth=0)
    if interval.low is not None and interval.high is not None:
        axes.plot((interval.low, interval.high), (at, at), color=colour, linewidth=2.5, solid_capstyle="butt")
    axes.plot(interval.mean, at, "o", color=colour, markersize=7, markeredgecolor=ink)


def curves(
    lines: Mapping[str, Mapping[Any, Interval]],
    methods: Mapping[str, str],
    setting: str,
    what: str,
    ink: str = "black",
) -> Figure:
    """By name, a line of means over the values of a setting, each with its interval; values in the order given.
    methods: by the same names, the method of each line, which sets its look.

    Numbers stand where they belong on the axis, which is logarithmic where they span a power of ten or more; other
    values stand side by side.
    """
    figure, axes = bare_axes((5.4, 3.9), ink, f"{what} over {setting} as lines with intervals: {', '.join(lines)}")
    ticks = list(dict.fromkeys(value for line in lines.values() for value in line))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in ticks)
    log = numbers and min(ticks) > 0 and max(ticks) >= 10 * min(ticks)
    positions = {value: float(value) if numbers else at for at, value in enumerate(ticks)}
    span = max(positions.values()) - min(positions.values())
    look = looks({name: methods[name] for name in lines})
    for number, (name, line) in enumerate(lines.items()):
        aside = 0.012 * (number - (len(lines) - 1) / 2)  # so that equal values do not hide each other
        measured = {value: interval for value, interval in line.items() if interval.mean is not None}
        x = np.array([positions[value] for value in measured])
        x = x * (1 + 2 * aside) if log else x + aside * span
        mean = np.array([interval.mean for interval in measured.values()], dtype=np.float64)
        ends = np.array([(interval.low, interval.high) for interval in measured.values()], dtype=np.float64)
        half = abs(ends.reshape(-1, 2).T - mean)
        axes.errorbar(
            x,
            mean,
            half,
            color=look[name].colour,
            marker=look[name].marker,
            linestyle=look[name].dashes,
            capsize=2,
            label=name,
        )
    if log:
        axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks([positions[value] for value in ticks], [str(value) for value in ticks])
    axes.set(xlabel=setting, ylabel=what)
    axes.legend(labelcolor=ink, frameon=False, fontsize=9)
    return figure


def accuracy_over_tasks(
    runs: Mapping[str, NDArray[np.float64]], methods: Mapping[str, str], ink: str = "black"
) -> Figure:
    """By name, R [N, N] of a run: a panel for each task with its accuracy after each task learned, all on one scale,
    and a first panel with the mean over the tasks learned so far. methods: as in `curves`."""
    tasks = max(len(accuracy) for accuracy in runs.values())
    columns = 3 if tasks < 9 else 4
    rows = -(-(tasks + 1) // columns)
    figure = Figure(figsize=(5.4, 1.1 + 1.5 * rows), layout="constrained")
    summary = ", ".join(f"{name} {accuracy[-1].mean():.2f}" for name, accuracy in runs.items())
    figure.set_label(f"Accuracy on each task over the tasks learned, as lines; final means: {summary}")
    figure.patch.set_alpha(0)
    look = looks({name: methods[name] for name in runs})
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for panel, axes in enumerate(panels):
        axes.patch.set_alpha(0)
        in_ink(axes, ink)
        if panel > tasks:
            axes.set_visible(False)
            continue
        axes.set_title("mean of all learned" if panel == 0 else f"on task {panel}", color=ink, fontsize=10)
        axes.set(xlim=(0.7, tasks + 0.3), ylim=(-0.03, 1.03), xticks=range(1, tasks + 1))
        axes.tick_params(labelsize=9, labelbottom=panel + columns > tasks)
        for name, accuracy in runs.items():
            x = np.arange(1, len(accuracy) + 1)
            if panel > len(accuracy):
                continue
            mean = [row[:task].mean() for task, row in zip(x, accuracy, strict=True)]
            axes.plot(
                x,
                accuracy[:, panel - 1] if panel else mean,
                color=look[name].colour,
                marker=look[name].marker,
                markersize=4,
                linestyle=look[name].dashes,
                label=name,
            )
    figure.supxlabel("after learning task", fontsize=10, color=ink)
    figure.supylabel("accuracy", fontsize=10, color=ink)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2, frameon=False, labelcolor=ink, fontsize=10)
    return figure


def vote_curves(
    groups: Sequence[int],
    curves: Mapping[str, NDArray[np.float64]],
    alone: Mapping[str, float],
    methods: Mapping[str, str],
    marked: int,
    ink: str = "black",
) -> Figure:
    """Accuracy of the vote [P] over the group size p, one line for each run; dotted, the same run without a vote.
    marked: the p at the dashed line. methods: as in `curves`."""
    summary = ", ".join(f"{name} {values[-1]:.2f}" for name, values in curves.items())
    figure, axes = bare_axes((5.4, 3.4), ink, f"Accuracy of the vote over the group size; for the largest {summary}")
    for name, look in looks({name: methods[name] for name in curves}).items():
        axes.plot(groups, curves[name], color=look.colour, marker=look.marker, markersize=4, label=name)
        axes.axhline(alone[name], color=look.colour, linestyle=":", linewidth=1.2)
    axes.axvline(marked, color=ink, linewidth=1, linestyle="--")
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="p, samples that vote together", ylabel="accuracy, mean over tasks")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    figure.legend(labelcolor=ink, frameon=False, loc="outside upper center", ncols=len(curves))
    return figure
