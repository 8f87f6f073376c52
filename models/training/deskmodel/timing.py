"""How long invoke() takes: TFLite models in turn, so that what else the machine does falls on all."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from deskmodel.adapters import TfliteInterpreter

WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Timing:
    """One model at one number of threads."""

    name: str
    threads: int
    median_ms: float
    ratio: float
    """The median, over the rounds, of its time to the reference's in the same round."""


def time_models(
    models: Sequence[tuple[str, Path]], reference: str, threads: Sequence[int] = (1, 2), rounds: int = 60
) -> list[Timing]:
    """Return each model's time and its ratio to that of `reference`, the name of one of them."""
    timings = []
    for count in threads:
        elapsed_s = _rounds([path for _, path in models], count, rounds)
        of_reference = elapsed_s[[name for name, _ in models].index(reference)]
        for (name, _), times in zip(models, elapsed_s, strict=True):
            ratio = statistics.median(a / b for a, b in zip(times, of_reference, strict=True))
            timings.append(Timing(name, count, 1000.0 * statistics.median(times), ratio))
    return timings


def _rounds(files: Sequence[Path], threads: int, rounds: int) -> list[list[float]]:
    """Return the seconds of each model's invoke() in each round."""
    rng = np.random.default_rng(0)
    interpreters = [TfliteInterpreter(file, threads) for file in files]
    fed = []
    for interpreter in interpreters:
        tensor = interpreter.input
        levels = rng.integers(0, 256, tensor.shape, dtype=np.uint8)
        fed.append((levels.view(np.int8) if tensor.dtype == "int8" else levels).astype(tensor.dtype))
    for interpreter, pixels in zip(interpreters, fed, strict=True):
        for _ in range(WARM_UP):
            interpreter.invoke(pixels)
    elapsed_s: list[list[float]] = [[] for _ in files]
    for _ in tqdm(range(rounds), desc=f"timing, {threads} thread{'s'[: threads - 1]}", disable=None):
        for times, interpreter in zip(elapsed_s, interpreters, strict=True):
            start = time.perf_counter()
            interpreter.invoke_again()
            times.append(time.perf_counter() - start)
    return elapsed_s
