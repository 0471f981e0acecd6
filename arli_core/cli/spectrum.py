"""The command `spectrum`: dif* of one recorded frame, in numbers."""

from typing import Annotated, Any

import numpy as np
import typer

from .. import records
from ..config import WEIGHING, Ari
from ..errors import RecordError
from ..records import Record
from ..theory import consensus, fusion
from .options import AsJson, Run, print_json


def spectrum(
    run: Run,
    task: Annotated[int | None, typer.Option(help="Task, counted from 1; by default the last one.")] = None,
    frame: Annotated[int, typer.Option(help="Frame, counted from 0; negative numbers count from the end.")] = -1,
    as_json: AsJson = False,
) -> None:
    """Print dif* of one recorded frame. Also prints its eigenvalues, contraction and residuals."""
    summary = _spectrum(records.load(run), task, frame)
    if as_json:
        print_json(summary)
        return
    models = [f"task {number}" for number in summary["present"]] + ["base"]
    typer.echo(
        f"task {summary['task']}, frame {summary['frame']} of {summary['frames']}; models: {', '.join(models)}"
    )
    for title in ("distance", "dif_star"):
        typer.echo(f"\n{title}")
        for row in summary[title]:
            typer.echo("".join(f"{value:>11.4f}" for value in row))
    # dif* is similar to a symmetric matrix, so its eigenvalues are real up to rounding.
    lines = {"eigenvalues": _numbers([real for real, _ in summary["eigenvalues"]])}
    weights = summary["left_eigenvector"]
    lines["left eigenvector"] = _numbers(weights) if weights else "not unique: the models fall into camps"
    typer.echo()
    for title, text in lines.items():
        typer.echo(f"{title:<23} {text}")
    for key in ("lambda2", "dobrushin", "residual_eq12", "residual_eq13", "deviation_from_uniform"):
        typer.echo(f"{key:<23} {summary[key]:.6g}")


def _spectrum(record: Record, task: int | None, frame: int) -> dict[str, Any]:
    """Plain JSON values of one frame; T = dif* is computed anew in float64 from the recorded distance."""
    config = record.config
    if not isinstance(config, Ari):
        valid = ", ".join(WEIGHING)
        raise RecordError(
            f"{config.method} fuses no models by dif*, so its runs have no spectrum; use a run of one of {valid}"
        )
    number = record.tasks_begun if task is None else task
    frames = record.frames(number)
    count = len(frames)
    if not -count <= frame < count:
        valid = f"frames 0 to {count - 1}, or -{count} to -1"
        raise RecordError(f"frame {frame} is not recorded; task {number} has {valid}")
    distance, gram = frames.matrix("distance", frame), frames.matrix("gram", frame)
    recorded = frames.matrix("dif_star", frame)
    matrix = fusion.dif_star(fusion.dif(distance, config.fusion.eta))
    eigenvalues = consensus.spectrum(matrix)
    return {
        "task": number,
        "frame": frame % count,
        "frames": count,
        "present": (np.flatnonzero(frames.present[frame]) + 1).tolist(),
        "distance": distance.tolist(),
        "dif_star": recorded.tolist(),
        "row_sums": recorded.sum(1).tolist(),
        "eigenvalues": [[value.real, value.imag] for value in eigenvalues.tolist()],
        "lambda2": float(abs(eigenvalues[1])),
        "dobrushin": consensus.dobrushin(matrix),
        "left_eigenvector": _stationary(matrix),
        "residual_eq12": consensus.residual_eq12(matrix),
        "residual_eq13": consensus.residual_eq13(matrix, gram, float(frames.norm[frame])),
        "deviation_from_uniform": consensus.deviation_from_uniform(matrix),
    }


def _stationary(matrix: Any) -> list[float] | None:
    try:
        return consensus.stationary(matrix).tolist()
    except ValueError:  # with eta = 0 the models may fall into camps, and then it is not unique
        return None


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:.6f}" for value in values)
