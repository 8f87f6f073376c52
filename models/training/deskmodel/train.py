"""Train the desk detector: `python -m deskmodel.train --help`."""

import argparse
import json
import math
import pickle
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from deskmodel.data import DataError, Picture, read_manifest, write_atomically
from deskmodel.graph import NcnnFileWrong, desk, read_ncnn
from deskmodel.net import DeskNet, Rounding, points
from deskmodel.pictures import Pictures, Sample, batch
from deskmodel.targets import Losses, assign, losses
from deskmodel.teacher import Teacher, distance
from deskmodel.widen import widen

RATE_FLOOR = 0.02
"""Where the learning rate ends, of its peak."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a run depends on but its data."""

    epochs: int = 30
    rounded_epochs: int = 8
    """The last epochs, with the rounding of int8."""
    batch: int = 16
    rate: float = 8e-4
    decay: float = 0.02
    warm_up_steps: int = 150
    width_px: int = 384
    height_px: int = 320
    unsure: float = 0.3
    teacher: float = 1.0
    average: float = 0.998
    seed: int = 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    recipe = Recipe(
        **{key: value for key, value in vars(options).items() if key in Recipe.__dataclass_fields__}
    )
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        Run(recipe, options).train()
    except (DataError, NcnnFileWrong) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deskmodel.train", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train.jsonl (deskmodel.prepare)"
    )
    parser.add_argument(
        "--ncnn", type=Path, required=True, help="nanodet_plus_m.ncnn, without .param and .bin"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for checkpoint, log and curves; an unfinished run goes on",
    )
    parser.add_argument("--start", type=Path, help="begin with the weights of this checkpoint")
    parser.add_argument(
        "--weight",
        action="append",
        default=[],
        metavar="SOURCE=W",
        help="how often a source's pictures are drawn, 1 unless told",
    )
    parser.add_argument("--threads", type=int, default=2)
    for field in Recipe.__dataclass_fields__.values():
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=field.type, default=field.default)
    return parser


class Run:
    """One training, which writes its state after each epoch and goes on from there."""

    def __init__(self, recipe: Recipe, options: argparse.Namespace) -> None:
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(options.threads)
        self._recipe, self._out = recipe, options.out
        coco = widen(read_ncnn(options.ncnn))
        self._teacher = _fast(Teacher(coco))
        self._net = _fast(DeskNet(desk(coco)))
        self._rounding = Rounding(self._net.graph)
        if options.start is not None:
            self._net.load_state_dict(read_checkpoint(options.start)["average"])
        self._average = {name: value.detach().clone() for name, value in self._net.named_parameters()}
        pictures = read_manifest(options.data / "train.jsonl")
        if len(pictures) < recipe.batch:
            raise DataError(f"{options.data}: wanted {recipe.batch} pictures or more, got {len(pictures)}")
        self._draws = _draws(pictures, options.weight)
        self._pictures = Pictures(pictures, (recipe.width_px, recipe.height_px), recipe.unsure)
        self._at = points((recipe.width_px, recipe.height_px))
        decayed = [p for name, p in self._net.named_parameters() if name.startswith("weights")]
        plain = [p for name, p in self._net.named_parameters() if not name.startswith("weights")]
        self._optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": recipe.decay}, {"params": plain, "weight_decay": 0.0}],
            recipe.rate,
        )
        self._epoch = 0
        self._log: list[dict[str, float]] = []
        self._resume()

    def train(self) -> None:
        """Train what is left of the epochs."""
        while self._epoch < self._recipe.epochs:
            started = time.monotonic()
            means = self._one_epoch()
            self._epoch += 1
            row = {"epoch": self._epoch, "seconds": round(time.monotonic() - started, 1), **means}
            self._log.append(row)
            write_atomically(
                self._out / "log.jsonl", "".join(f"{json.dumps(one)}\n" for one in self._log).encode()
            )
            self._save()

    def _one_epoch(self) -> dict[str, float]:
        recipe = self._recipe
        # An epoch's chance is its own, so that a run taken up again is the run that was cut off.
        rng = np.random.default_rng([recipe.seed, self._epoch])
        steps = len(self._pictures) // recipe.batch
        rounded = self._epoch >= recipe.epochs - recipe.rounded_epochs
        self._net.rounding = self._rounding.train() if rounded else None
        # In the last epochs the ranges stand still, and the weights settle into them.
        settling = self._epoch >= recipe.epochs - recipe.rounded_epochs // 2
        self._rounding.frozen = settling and self._rounding.learned
        sums: dict[str, float] = {}
        count = 0
        batches = self._pictures.batches(recipe.batch, rng, self._draws)
        for samples in tqdm(
            batches, total=steps, desc=f"epoch {self._epoch + 1}/{recipe.epochs}", mininterval=5.0
        ):
            self._pace(self._epoch + count / max(steps, 1), self._epoch * steps + count)
            for name, value in self._step(samples)._asdict().items():
                sums[name] = sums.get(name, 0.0) + float(value)
            count += 1
        means = {name: round(value / max(count, 1), 5) for name, value in sums.items()}
        return {"rounded": float(rounded), **means}

    def _step(self, samples: list[Sample]) -> Losses:
        pixels = batch(samples)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            maps = self._net(pixels)
            taught = self._teacher(pixels)
        maps = type(maps)(maps.classes.float(), maps.boxes.float())
        taught = type(taught)(taught.classes.float(), taught.boxes.float())
        targets = assign(maps, self._at, samples)
        result = losses(maps, self._at, targets)
        result = result._replace(teacher=self._recipe.teacher * distance(maps, taught, targets.sure))
        self._optimizer.zero_grad(set_to_none=True)
        result.total().backward()
        nn.utils.clip_grad_norm_(self._net.parameters(), 10.0)
        self._optimizer.step()
        with torch.no_grad():
            for name, value in self._net.named_parameters():
                self._average[name].lerp_(value, 1.0 - self._recipe.average)
        return Losses(*(value.detach() for value in result))

    def _pace(self, epoch: float, step: int) -> None:
        recipe = self._recipe
        warm = min(1.0, (step + 1) / recipe.warm_up_steps)
        cosine = 0.5 * (1.0 + math.cos(math.pi * epoch / recipe.epochs))
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.rate * warm * (RATE_FLOOR + (1.0 - RATE_FLOOR) * cosine)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "recipe": asdict(self._recipe),
            "epoch": self._epoch,
            "log": self._log,
            "net": dict(self._net.named_parameters()),
            "average": self._average,
            "rounding": self._rounding.state_dict(),
            "ranges": dict(self._rounding.ranges()),
            "optimizer": self._optimizer.state_dict(),
        }
        temporary = self._out / "checkpoint.tmp"
        torch.save(state, temporary)
        temporary.replace(self._out / "checkpoint.pt")

    def _resume(self) -> None:
        path = self._out / "checkpoint.pt"
        if not path.exists():
            return
        state = read_checkpoint(path)
        if state["recipe"] != asdict(self._recipe):
            wanted, got = asdict(self._recipe), state["recipe"]
            changed = {key: (got.get(key), wanted[key]) for key in wanted if got.get(key) != wanted[key]}
            raise DataError(f"{path}: made with another recipe (then, now): {changed}; take another --out")
        self._net.load_state_dict(state["net"])
        self._average = state["average"]
        self._rounding.load_state_dict(state["rounding"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._epoch = state["epoch"]
        self._log = state["log"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a run saved. Raises DataError where there is none."""
    if not path.is_file():
        raise DataError(f"{path}: wanted a checkpoint of deskmodel.train, got no such file")
    try:
        return torch.load(path, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise DataError(f"{path}: wanted a checkpoint of deskmodel.train, got {error}") from error


def _fast(module: nn.Module) -> Any:
    return module.to(memory_format=torch.channels_last)


def _draws(pictures: list[Picture], told: list[str]) -> Any:
    """Return how often each picture is drawn, (n,). Raises DataError for a weight that is none."""
    sources = {picture.source for picture in pictures}
    weights = {}
    for pair in told:
        source, _, weight = pair.rpartition("=")
        if source not in sources:
            raise DataError(f"--weight: wanted SOURCE=W, a source of {sorted(sources)}, got {pair!r}")
        try:
            weights[source] = float(weight)
        except ValueError:
            raise DataError(f"--weight: wanted a number behind {source}=, got {weight!r}") from None
    draws = np.array([weights.get(picture.source, 1.0) for picture in pictures])
    if not (np.isfinite(draws).all() and (draws >= 0.0).all() and draws.any()):
        raise DataError(f"--weight: wanted weights of 0 or more, and one above it, got {told}")
    return draws


if __name__ == "__main__":
    sys.exit(main())
