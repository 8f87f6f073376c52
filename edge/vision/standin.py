"""What looks without a model: an interpreter that answers from a script, a detector of plain colours."""

from collections import deque
from collections.abc import Iterable, Mapping

import cv2
import numpy as np

from edge.capture.frame import Pixels
from edge.vision.detector import View
from edge.vision.interpreter import Array, Runtime, Tensor
from edge.vision.letterbox import Letterbox
from edge.vision.mask import Polygon
from edge.vision.types import Box, Detection


class ScriptedInterpreter:
    """An `Interpreter` that returns its script's outputs in turn, and its last ones for ever after."""

    def __init__(
        self,
        fed: Tensor,
        outputs: tuple[Tensor, ...],
        script: Iterable[tuple[Array, ...]],
        inner_shapes: Iterable[tuple[int, ...]] = (),
        keep: int = 64,
    ) -> None:
        self.runtime = Runtime("scripted", "1")
        self.input = fed
        self.outputs = outputs
        self.inner_shapes = frozenset([*inner_shapes, fed.shape, *(tensor.shape for tensor in outputs)])
        self.invocations = 0
        self.fed: deque[Array] = deque(maxlen=keep)
        """Copies of the newest inputs, the latest last."""
        self._script = [tuple(_checked(a, t) for a, t in zip(step, outputs, strict=True)) for step in script]
        if not self._script:
            raise ValueError("script: wanted one step or more, got none")

    def invoke(self, fed: Array) -> tuple[Array, ...]:
        """Record `fed` and return copies of the next outputs."""
        self.fed.append(_checked(fed, self.input).copy())
        step = self._script[min(self.invocations, len(self._script) - 1)]
        self.invocations += 1
        return tuple([array.copy() for array in step])


def _checked(array: Array, tensor: Tensor) -> Array:
    if array.shape != tensor.shape or array.dtype != np.dtype(tensor.dtype):
        raise ValueError(
            f"{tensor.name}: wanted {tensor.dtype} {tensor.shape}, got {array.dtype} {array.shape}"
        )
    return array


class ColourDetector:
    """A detector that finds areas of plain colours: each is a label. Real pixels in, real boxes out."""

    def __init__(self, labels: Mapping[tuple[int, int, int], str], score: float = 0.9) -> None:
        """Take the label of each RGB colour; every area of it is a detection with `score`."""
        self._labels = dict(labels)
        self._score = score
        self.invocations = 0

    def view(self, pixels: Pixels, masks: tuple[Polygon, ...] = ()) -> View:
        """Scale a frame to 300 x 300, as a `Detector` does."""
        height, width = pixels.shape[:2]
        letterbox = Letterbox((width, height), (300, 300), masks=masks)
        return View(letterbox.paint(pixels), letterbox)

    def detect(self, view: View) -> tuple[Detection, ...]:
        """Return a detection for each connected area of a known colour, larger than a speck."""
        self.invocations += 1
        found = []
        for colour, label in self._labels.items():
            alike = np.abs(view.pixels.astype(np.int16) - np.array(colour, np.int16)).max(axis=2) < 40
            _, _, areas, _ = cv2.connectedComponentsWithStats(alike.astype(np.uint8))
            for x, y, width, height, size_px in areas[1:].tolist():
                if size_px >= 30:
                    box = Box(x / 300, y / 300, (x + width) / 300, (y + height) / 300)
                    found.append(Detection(label, self._score, view.letterbox.to_frame(box)))
        return tuple(found)

    def forget(self) -> None:
        """Hold nothing: each view has pixels of its own."""
