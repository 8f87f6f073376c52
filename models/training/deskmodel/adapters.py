"""Every kind of model behind one face: a picture in, boxes of the nine labels out."""

import hashlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from deskmodel.data import DataError, Rgb
from deskmodel.labels import COCO_80, LABELS, class_map
from deskmodel.metrics import Detections, Floats, suppress

CHECKOUT = Path(__file__).resolve().parents[3]
if (
    str(CHECKOUT) not in sys.path
):  # the firmware is no requirement of the pipeline's: it is taken from beside it
    sys.path.append(str(CHECKOUT))

from edge.vision.card import Card, SsdLayout, Threshold, load_card  # noqa: E402 (the path above comes first)
from edge.vision.detector import Detector  # noqa: E402
from edge.vision.interpreter import TfliteInterpreter  # noqa: E402
from edge.vision.model_file import check_model, find_model, model_folders  # noqa: E402

NMS_IOU = 0.6
MAX_DETECTIONS = 300
_NEVER = 1.0
"""A threshold that no score passes: what a card allows at most."""


class Model(Protocol):
    """A model that evaluation can look through."""

    name: str
    key: str
    """Tells this model and all that its detections depend on from any other."""
    limits: str
    """What keeps it from telling more, for the report."""

    def threshold_of(self, label: str) -> float:
        """Return the score from which a detection of `label` is meant in earnest."""
        ...

    def detect(self, rgb: Rgb, floor: float) -> Detections:
        """Return what is seen in uint8 RGB (h, w, 3) with scores of `floor` and above."""
        ...


def open_model(path: Path) -> Model:
    """Return the model of a card (.toml) or of an ONNX file, whose outputs tell its kind."""
    opener = OPENERS.get(path.suffix)
    if opener is None:
        raise DataError(
            f"{path}: wanted a model, {', '.join(sorted(OPENERS))}, got {path.suffix or 'no ending'}"
        )
    return opener(path)


class CardModel:
    """A TFLite model behind its card, fed and read by the firmware's own code."""

    def __init__(self, path: Path) -> None:
        self.card = load_card(path)
        self.file = find_model(self.card, model_folders(path))
        check_model(self.card, self.file)
        self._path = path
        self.name = self.card.name
        self.key = _key(self.file.read_bytes(), path.read_bytes())
        layout = self.card.layout
        self.limits = (
            "10 detections a picture, in the graph itself"
            if isinstance(layout, SsdLayout)
            else f"the best 256 cells of each map, {layout.max_detections} detections a picture"
        )
        self._classes = dict(zip(self.card.labels, class_map(self.card.labels).tolist(), strict=True))
        self._detector: Detector | None = None
        self._floor = math.nan

    def threshold_of(self, label: str) -> float:
        """Return the card's threshold; of several names for one label, the lowest."""
        class_id = LABELS.index(label)
        names = [name for name, mapped in self._classes.items() if mapped == class_id]
        return min([self.card.threshold_of(name) for name in names], default=_NEVER)

    def detect(self, rgb: Rgb, floor: float) -> Detections:
        """Return what the firmware would see, were its thresholds at `floor`."""
        if self._detector is None or self._floor != floor:
            self._detector, self._floor = self._load(floor), floor
        seen = self._detector.detect(self._detector.view(rgb))
        seen = tuple(detection for detection in seen if self._classes[detection.label] >= 0)
        boxes = np.array([[d.box.x0, d.box.y0, d.box.x1, d.box.y1] for d in seen]).reshape(-1, 4)
        class_ids = np.array([self._classes[d.label] for d in seen], dtype=np.int64)
        return _suppressed(boxes, class_ids, np.array([d.score for d in seen]))

    def _load(self, floor: float) -> Detector:
        """Load the model with a card whose thresholds are `floor` for our labels, and shut out all others."""
        others = {name: _NEVER for name in self.card.named_labels if self._classes[name] < 0}
        card: Card = msgspec.structs.replace(self.card, threshold=Threshold(default=floor, labels=others))
        return Detector(card, TfliteInterpreter(self.file, threads=2))


class OnnxModel:
    """What the ONNX models share: a session, and COCO's classes made ours."""

    limits = f"{MAX_DETECTIONS} detections a picture"

    def __init__(self, path: Path, threshold: float) -> None:
        import onnxruntime  # noqa: PLC0415 (the cards need none)

        self.name = path.stem
        self.key = _key(path.read_bytes())
        self._threshold = threshold
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        to_ours = class_map(COCO_80)
        self._sources = [np.flatnonzero(to_ours == class_id) for class_id in range(len(LABELS))]

    def threshold_of(self, label: str) -> float:
        """Return the model's customary threshold, the same for all labels: it has no card."""
        return self._threshold

    def _run(self, fed: npt.NDArray[np.float32]) -> Floats:
        outputs = self._session.run(None, {self._input: fed[np.newaxis]})
        return np.asarray(outputs[0][0], dtype=np.float64)

    def _told(self, boxes: Floats, classes: Floats, floor: float) -> Detections:
        """Turn boxes (cells, 4) in 0–1 and scores (cells, 80) into detections of ours.

        Where COCO has several names for one label, the best of them counts.
        """
        scores = np.stack([classes[:, sources].max(axis=1) for sources in self._sources], axis=1)
        cells, class_ids = np.nonzero(scores >= floor)
        kept = np.clip(boxes[cells], 0.0, 1.0)
        whole = np.all(kept[:, 2:] > kept[:, :2], axis=1)
        return _suppressed(kept[whole], class_ids[whole], scores[cells, class_ids][whole])


class YoloxNano(OnnxModel):
    """YOLOX-nano: 416×416 BGR levels, the picture at the top left and 114 around it."""

    _SIDE_PX = 416

    def __init__(self, path: Path) -> None:
        super().__init__(path, threshold=0.3)
        grids = []
        for stride in (8, 16, 32):
            y, x = np.mgrid[: self._SIDE_PX // stride, : self._SIDE_PX // stride].reshape(2, -1)
            grids.append(np.stack([x, y, np.full(len(x), stride)], axis=1))
        self._cells = np.concatenate(grids).astype(np.float64)

    def detect(self, rgb: Rgb, floor: float) -> Detections:
        """See `Model.detect`."""
        height, width = rgb.shape[:2]
        scale = min(self._SIDE_PX / width, self._SIDE_PX / height)
        size = (int(width * scale), int(height * scale))
        fed = np.full((self._SIDE_PX, self._SIDE_PX, 3), 114.0, np.float32)
        fed[: size[1], : size[0]] = cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
        told = self._run(np.ascontiguousarray(fed.transpose(2, 0, 1)))
        stride = self._cells[:, 2:]
        centre = (told[:, :2] + self._cells[:, :2]) * stride
        half = np.exp(told[:, 2:4]) * stride / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1) / np.array([*size, *size])
        return self._told(boxes, told[:, 4:5] * told[:, 5:], floor)


class FastestDet(OnnxModel):
    """FastestDet: 352×352 BGR in 0–1, squeezed; one map of 22×22 cells."""

    _SIDE_PX = 352

    def __init__(self, path: Path) -> None:
        super().__init__(path, threshold=0.5)

    def detect(self, rgb: Rgb, floor: float) -> Detections:
        """See `Model.detect`."""
        small = cv2.resize(rgb, (self._SIDE_PX, self._SIDE_PX), interpolation=cv2.INTER_LINEAR)
        told = self._run(np.ascontiguousarray(small[:, :, ::-1].transpose(2, 0, 1), np.float32) / 255.0)
        rows, cols = told.shape[1:]
        y, x = np.mgrid[:rows, :cols]
        objectness, terms, classes = told[0], told[1:5], told[5:]
        centre = np.stack([(np.tanh(terms[0]) + x) / cols, (np.tanh(terms[1]) + y) / rows])
        half = 0.5 / (1.0 + np.exp(-terms[2:]))
        boxes = np.concatenate([centre - half, centre + half]).reshape(4, -1).T
        # The exponents are the authors' own, of their decode.
        scores = (objectness**0.6 * classes**0.4).reshape(len(classes), -1).T
        return self._told(boxes, scores, floor)


def _open_onnx(path: Path) -> Model:
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    shape = tuple(session.get_outputs()[0].shape)
    known: dict[tuple[int, ...], Callable[[Path], Model]] = {
        (1, 3549, 85): YoloxNano,
        (1, 85, 22, 22): FastestDet,
    }
    if shape not in known:
        raise DataError(f"{path}: wanted an output of {' or '.join(map(str, known))}, got {shape}")
    return known[shape](path)


def _suppressed(boxes: Floats, class_ids: npt.NDArray[np.int64], scores: Floats) -> Detections:
    """Return the detections without doubles: a cup that is also a bottle is one drink."""
    kept = suppress(boxes, class_ids, scores, NMS_IOU, MAX_DETECTIONS)
    return Detections(boxes[kept], class_ids[kept], scores[kept])


def _key(*contents: bytes) -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


OPENERS: dict[str, Callable[[Path], Model]] = {".toml": CardModel, ".onnx": _open_onnx}
"""From a file's ending to what opens it. A checkpoint of PyTorch registers its own."""
