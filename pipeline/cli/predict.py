"""``headstart predict``: classify images with a model file."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from pipeline.cli.options import FILE, as_json, device, warn, workers
from pipeline.errors import one_line
from pipeline.files import replacing
from pipeline.predict import Model, Prediction, predict


@click.command()
@click.argument("model", type=FILE)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--out", type=FILE, help="Write FILE.csv or FILE.jsonl instead of CSV on stdout.")
@workers
@device
@as_json
def command(
    model: Path,
    paths: tuple[str, ...],
    out: Path | None,
    workers: int | None,
    device: str,
    json_: bool,
) -> None:
    """Classify images: files, folders or CSV manifests. A bad image is a row with an error."""
    if out is not None and out.suffix not in (".csv", ".jsonl"):
        raise click.UsageError("--out must end in .csv or .jsonl")
    if out is not None and json_:
        raise click.UsageError("--json prints on stdout; it does not go with --out")
    classifier = Model(model, device)
    warn(classifier.backbone)
    found = predict(classifier, paths, workers)
    count = failed = 0
    with _writer(classifier.classes, out, json_) as write:
        for prediction in found:
            write(prediction)
            count += 1
            failed += bool(prediction.error)
    if out is not None:
        click.echo(f"{one_line(out)}: {count:,} predictions")
    if failed:
        click.echo(f"{failed:,} of {count:,} images could not be used", err=True)


@contextmanager
def _writer(
    classes: tuple[str, ...], out: Path | None, json_: bool
) -> Iterator[Callable[[Prediction], None]]:
    """Give a function that writes one prediction in the format and place asked for."""
    if json_:
        rows: list[dict[str, object]] = []
        yield lambda prediction: rows.append(_document(classes, prediction))
        click.echo(json.dumps({"classes": list(classes), "predictions": rows}, indent=2))
    elif out is None:
        yield _csv_rows(classes, sys.stdout)
    else:
        with (
            replacing(out) as partial,
            partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            if out.suffix == ".csv":
                yield _csv_rows(classes, file)
            else:
                yield lambda p: print(json.dumps(_document(classes, p)), file=file)


def _csv_rows(classes: tuple[str, ...], file: TextIO) -> Callable[[Prediction], None]:
    def write(cells: list[str]) -> None:
        line = io.StringIO()
        csv.writer(line).writerow(cells)
        text = line.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")
        file.write(text)

    write(["path", "label", "confidence", *(f"p:{name}" for name in classes), "error"])

    def row(prediction: Prediction) -> None:
        scores = [f"{score:.6f}" for score in prediction.probabilities] or [""] * len(classes)
        best = max(scores) if prediction.probabilities else ""
        write([prediction.path, prediction.label, best, *scores, prediction.error])

    return row


def _document(classes: tuple[str, ...], prediction: Prediction) -> dict[str, object]:
    if prediction.error:
        return {"path": one_line(prediction.path), "error": prediction.error}
    return {
        "path": one_line(prediction.path),
        "label": prediction.label,
        "probabilities": dict(zip(classes, prediction.probabilities, strict=True)),
    }
