"""A model ready to look: letterbox, interpreter and decode, put together from a card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.capture.frame import Pixels
from edge.vision.card import (
    Card,
    InputSpec,
    ModelDtypeWrong,
    ModelShapeWrong,
    load_card,
)
from edge.vision.decode import make_decoder
from edge.vision.interpreter import Array, Backend, Interpreter, Tensor, TfliteInterpreter
from edge.vision.letterbox import Letterbox
from edge.vision.mask import Polygon
from edge.vision.model_file import check_model, find_model, model_folders
from edge.vision.types import Detection


@dataclass(frozen=True, slots=True)
class View:
    """A frame as the model will see it. Its pixels hold until the detector's next `view`."""

    pixels: Pixels
    """uint8 RGB (input height, input width, 3), bars included, masked polygons black."""
    letterbox: Letterbox

    @property
    def content(self) -> Pixels:
        """The picture without the bars: uint8 RGB, a view into `pixels`."""
        return self.pixels[self.letterbox.content]


class Detector:
    """Looks at frames with one model. One thread at a time."""

    def __init__(self, card: Card, interpreter: Interpreter) -> None:
        """Raise ModelShapeWrong, ModelDtypeWrong or ModelLabelsWrong where card and model disagree."""
        _check_input(card, interpreter.input)
        self.card = card
        self.interpreter = interpreter
        self._decode = make_decoder(card, interpreter.outputs, interpreter.inner_shapes)
        self._levels = _levels(card.input, interpreter.input)
        self._letterbox: Letterbox | None = None
        self._made_for: tuple[int, int, tuple[Polygon, ...]] | None = None

    @classmethod
    def load(
        cls,
        card_path: Path,
        folders: Sequence[Path] | None = None,
        *,
        threads: int = 2,
        backend: Backend = "auto",
    ) -> "Detector":
        """Read a card, find and check its model, and load it.

        `folders`: where to look for the model, by default what `model_folders` says. Raises ModelError or,
        where no interpreter is installed, InterpreterMissing.
        """
        card = load_card(card_path)
        model = find_model(card, model_folders(card_path) if folders is None else folders)
        check_model(card, model)
        return cls(card, TfliteInterpreter(model, threads, backend))

    def view(self, pixels: Pixels, masks: tuple[Polygon, ...] = ()) -> View:
        """Scale a frame, uint8 RGB (h, w, 3), to the model's input, what `masks` touch painted black."""
        height, width = pixels.shape[:2]
        made_for = (width, height, masks)
        if self._letterbox is None or self._made_for != made_for:
            spec = self.card.input
            input_px = (spec.width_px, spec.height_px)
            self._letterbox = Letterbox((width, height), input_px, fit=spec.fit, pad=spec.pad, masks=masks)
            self._made_for = made_for
        return View(self._letterbox.paint(pixels), self._letterbox)

    def detect(self, view: View) -> tuple[Detection, ...]:
        """Run the model on a view; detections best first, boxes in 0–1 of the whole frame."""
        found = self._decode(self.interpreter.invoke(self._feed(view.pixels)))
        if not view.letterbox.has_bars:
            return found
        to_frame = view.letterbox.to_frame
        mapped = [Detection(seen.label, seen.score, to_frame(seen.box)) for seen in found]
        return tuple([detection for detection in mapped if detection.box.area > 0.0])

    def forget(self) -> None:
        """Overwrite the last picture, and what the model made of it, with black."""
        if self._letterbox is not None:
            self._letterbox.wipe()
            self.interpreter.invoke(np.zeros(self.interpreter.input.shape, self.interpreter.input.dtype))

    def _feed(self, pixels: Pixels) -> Array:
        """Turn a view's pixels into the input tensor's values, (1, h, w, 3)."""
        fed: Array = pixels
        if self.card.input.channels == "bgr":
            fed = cv2.cvtColor(fed, cv2.COLOR_RGB2BGR)
        if self._levels is not None:
            fed = cv2.LUT(fed, self._levels)
        return fed[np.newaxis]


def _check_input(card: Card, tensor: Tensor) -> None:
    wanted = (1, card.input.height_px, card.input.width_px, 3)
    if tensor.shape != wanted:
        raise ModelShapeWrong(f"{card.file}: input {tensor.name}: wanted {wanted}, got {tensor.shape}")
    if tensor.dtype != card.input.dtype:
        raise ModelDtypeWrong(
            f"{card.file}: input {tensor.name}: wanted {card.input.dtype}, got {tensor.dtype}"
        )


def _levels(spec: InputSpec, tensor: Tensor) -> Array | None:
    """Return what the model is fed for each level 0–255 of each channel, (1, 256, 3); None: the level itself.

    Without `mean` and `std` an int8 model gets level − 128 and a float model the level. With them a quantized
    model gets (level − mean) / std in its own scale and zero point.
    """
    level = np.repeat(np.arange(256, dtype=np.float64)[:, None], 3, axis=1)
    if spec.mean is None or spec.std is None:
        if spec.dtype == "uint8":
            return None
        fed = level - 128.0 if spec.dtype == "int8" else level
    else:
        fed = (level - np.array(spec.mean)) / np.array(spec.std)
        if spec.dtype != "float32":
            if tensor.scale <= 0.0:
                raise ModelDtypeWrong(f"input {tensor.name}: wanted a scale beside mean and std, got none")
            bounds = np.iinfo(spec.dtype)
            fed = np.clip(np.rint(fed / tensor.scale) + tensor.zero_point, bounds.min, bounds.max)
    return fed.astype(spec.dtype)[np.newaxis]
