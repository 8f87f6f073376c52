"""Measure models on the same pictures, all in one run.

    python -m deskmodel.evaluate --sets held.jsonl held-phones.jsonl test.jsonl
        --models CARD.toml MODEL.onnx --out DIR

Real and rendered pictures are told apart. `all-real` is all sets of photos together: COCO's show how often a
model sees phones where there are none, the phone photos how many it finds. What a model saw is kept under
DIR/detections, and taken from there as long as neither the model nor the pictures change.
"""

import argparse
import dataclasses
import hashlib
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from tqdm import tqdm

from deskmodel import plots, report
from deskmodel.adapters import CHECKOUT, CardModel, Model, open_model
from deskmodel.data import DataError, Picture, load_rgb, read_manifest, write_atomically
from deskmodel.labels import LABELS
from deskmodel.metrics import Detections
from deskmodel.timing import Timing, time_models
from edge.errors import EdgeError

FLOOR = 0.01
"""Scores below it change no AP50 that can be read."""
REFERENCE = CHECKOUT / "models" / "ssd-mobilenet-v1-coco.toml"
ALL_REAL = "all-real"

Seen = dict[str, dict[str, list[Detections]]]
"""From a model's name and a set's to what it saw in each picture."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        sets = {path.stem: read_manifest(path) for path in _distinct(options.sets)}
        models = [open_model(path) for path in options.models]
        if doubled := sorted({m.name for m in models if [n.name for n in models].count(m.name) > 1}):
            raise DataError(f"--models: wanted models of different names, got {doubled} again")  # noqa: TRY301
        seen = {model.name: look(model, sets, options.out / "detections") for model in models}
        timings = _times(models, options.rounds)
    except (DataError, EdgeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    real = [name for name, pictures in sets.items() if not any(picture.profile for picture in pictures)]
    if len(real) > 1:
        sets[ALL_REAL] = [picture for name in real for picture in sets[name]]
        for of_sets in seen.values():
            of_sets[ALL_REAL] = [detections for name in real for detections in of_sets[name]]
    write_report(options.out, models, sets, seen, timings)
    for label in options.sheets:
        write_sheets(options.out, models, sets, seen, label)
    return 0


def look(model: Model, sets: Mapping[str, Sequence[Picture]], cache: Path) -> dict[str, list[Detections]]:
    """Return what a model sees in the pictures of each set, from `cache` where it has looked before."""
    seen = {}
    for name, pictures in sets.items():
        path = cache / f"{model.name}-{_key(model, pictures)}.npz"
        if not path.is_file():
            bar = tqdm(pictures, desc=f"{model.name}, {name}", unit="picture", disable=None)
            write_atomically(path, _packed([model.detect(load_rgb(picture.image), FLOOR) for picture in bar]))
        seen[name] = _unpacked(path)
    return seen


def write_report(
    out: Path,
    models: Sequence[Model],
    sets: Mapping[str, Sequence[Picture]],
    seen: Seen,
    timings: Sequence[Timing],
) -> None:
    """Write results.json, results.md and a PNG of curves for each set, and print the page."""
    results: report.Numbers = {
        "floor": FLOOR,
        "sets": {
            name: {
                "pictures": len(pictures),
                "partly labelled": [label for label in LABELS if report.partly_labelled(pictures, label)],
            }
            for name, pictures in sets.items()
        },
        "models": {model.name: _of_model(model, sets, seen[model.name]) for model in models},
        "timings": list(timings),
    }
    page = report.page(results)
    results["timings"] = [dataclasses.asdict(timing) for timing in timings]
    write_atomically(out / "results.json", msgspec.json.format(msgspec.json.encode(results), indent=1))
    write_atomically(out / "results.md", page.encode())
    for name, pictures in sets.items():
        found = {
            label: {
                model.name: outcome
                for model in models
                if (outcome := report.label_outcomes(pictures, seen[model.name][name], label)) is not None
            }
            for label in LABELS
        }
        plots.curves(out / f"curves-{name}.png", {label: of for label, of in found.items() if of})
    sys.stdout.write(page)


def write_sheets(
    out: Path, models: Sequence[Model], sets: Mapping[str, Sequence[Picture]], seen: Seen, label: str
) -> None:
    """Write contact sheets of each model's worst misses and false alarms of a label in each set."""
    for model in models:
        threshold = model.threshold_of(label)
        for name, pictures in sets.items():
            stem = f"{model.name}-{name}-{label.replace(' ', '-')}.png"
            missed = plots.misses(pictures, seen[model.name][name], label, threshold)
            alarms = plots.false_alarms(pictures, seen[model.name][name], label, threshold)
            for kind, mistakes in (("missed", missed), ("false", alarms)):
                if mistakes:
                    sheet = plots.mistake_sheet(mistakes, missed=kind == "missed")
                    plots.write_png(out / f"{kind}-{stem}", sheet)


def _of_model(
    model: Model, sets: Mapping[str, Sequence[Picture]], seen: Mapping[str, list[Detections]]
) -> report.Numbers:
    thresholds = {label: model.threshold_of(label) for label in LABELS}
    of_sets = {}
    for name, pictures in sets.items():
        of_sets[name] = report.measure(pictures, seen[name], thresholds)
        of_sets[name]["confusion"] = report.confusion(pictures, seen[name], thresholds["cell phone"])
    return {"thresholds": thresholds, "limits": model.limits, "sets": of_sets}


def _times(models: Sequence[Model], rounds: int) -> list[Timing]:
    """Time the TFLite models against the reference; nothing where there is none, or with no rounds."""
    cards = {model.name: model.file for model in models if isinstance(model, CardModel)}
    if not (cards and rounds):
        return []
    reference = CardModel(REFERENCE)
    return time_models(
        list(({reference.name: reference.file} | cards).items()), reference.name, rounds=rounds
    )


def _key(model: Model, pictures: Sequence[Picture]) -> str:
    """Return what a cache file's name tells: the model, the pictures (path, size, time), and the floor."""
    digest = hashlib.sha256(f"{model.key} {FLOOR}".encode())
    for picture in pictures:
        written = Path(picture.image).stat()
        digest.update(f"\n{picture.id} {picture.image} {written.st_size} {written.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _packed(seen: Sequence[Detections]) -> bytes:
    """Return an npz of all detections behind one another, and how many each picture has."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        boxes=np.concatenate([np.zeros((0, 4)), *(one.boxes for one in seen)]).astype(np.float32),
        class_ids=np.concatenate([np.zeros(0), *(one.class_ids for one in seen)]).astype(np.int8),
        scores=np.concatenate([np.zeros(0), *(one.scores for one in seen)]).astype(np.float32),
        counts=np.array([len(one.scores) for one in seen], dtype=np.int64),
    )
    return buffer.getvalue()


def _unpacked(path: Path) -> list[Detections]:
    with np.load(path) as packed:
        ends = np.cumsum(packed["counts"])[:-1]
        parts = [np.split(packed[key], ends) for key in ("boxes", "class_ids", "scores")]
    return [
        Detections(boxes.astype(np.float64), class_ids.astype(np.int64), scores.astype(np.float64))
        for boxes, class_ids, scores in zip(*parts, strict=True)
    ]


def _distinct(paths: Sequence[Path]) -> Sequence[Path]:
    stems = [path.stem for path in paths]
    if len(set(stems)) < len(stems) or ALL_REAL in stems:
        raise DataError(f"wanted manifests of different names, none of them {ALL_REAL}, got {stems}")
    return paths


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deskmodel.evaluate",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--sets", type=Path, nargs="+", required=True, help="manifests of held-out pictures")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="cards (.toml) and .onnx files")
    parser.add_argument("--out", type=Path, required=True, help="where the report goes")
    parser.add_argument("--sheets", nargs="*", default=["cell phone"], choices=LABELS, help="labels to show")
    parser.add_argument("--rounds", type=int, default=60, help="of timing; 0 for none")
    return parser


if __name__ == "__main__":
    sys.exit(main())
