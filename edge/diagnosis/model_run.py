"""The model run here, by whoever looks after a unit that does not run."""

import time

from edge.config import ModelTable
from edge.diagnosis.check import Verdict, failed
from edge.diagnosis.tried import Tried
from edge.errors import EdgeError
from edge.latency import Latencies
from edge.vision.card import CardMissing
from edge.vision.detector import Detector
from edge.vision.golden import deviation, drawing
from edge.vision.interpreter import InterpreterMissing
from edge.vision.model_file import (
    ModelHashWrong,
    ModelMissing,
    ModelNotTflite,
    ModelTruncated,
    find_card,
)

TRIES = 12
TRY_FOR_S = 4.0


def try_out(table: ModelTable) -> Tried | Verdict:
    """Load the model and run it on the built-in drawing; or say what is in the way."""
    try:
        detector = Detector.load(find_card(table.card), threads=table.threads, backend=table.interpreter)
    except InterpreterMissing as error:
        return failed("no-interpreter", str(error), "an interpreter")
    except (CardMissing, ModelMissing, ModelNotTflite, ModelTruncated, ModelHashWrong):
        return failed("does-not-load", "its file is not the one to run", "a model that loads")
    except EdgeError as error:
        return failed("does-not-load", str(error), "a model that loads")
    differs = deviation(detector)  # the first run warms it up, too
    picture, took, until_s = drawing(), Latencies(), time.monotonic() + TRY_FOR_S
    for tries in range(TRIES):
        began_s = time.monotonic()
        if tries and began_s >= until_s:
            break
        detector.detect(detector.view(picture))
        took.add(time.monotonic() - began_s)
    found = took.percentiles()
    assert found is not None, "wanted a model that was run"
    return Tried(detector.card, differs, found.p50_s, found.p95_s)
