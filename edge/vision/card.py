"""The model card: what a model file is, how to feed it, and how to read what it says."""

import errno
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edge.border import read_bounded
from edge.errors import EdgeError
from edge.vision.personal import tells_of_a_person

UNUSED = "???"
"""The label of a class id that the model never means."""

Seconds = Annotated[float, msgspec.Meta(gt=0.0, le=60.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Score = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Px = Annotated[int, msgspec.Meta(ge=16, le=4096)]
Level = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Triple = tuple[Level, Level, Level]
_MAX_BYTES = 256_000
_MIN_STD = 1e-6  # below, a float32 input may overflow


class ModelError(EdgeError):
    """The model cannot be used: the message says what its card wanted, what came, and in which file."""


class CardMissing(ModelError):
    """No such model card: name one of `models/` without its ending, or give the path of one."""


class CardInvalid(ModelError):
    """The card is not valid: correct the key that the message names; docs/model-card.md lists them all."""


class CardRefused(ModelError):
    """A label would tell who a person is or how they feel. deskwatch never runs such a model: use another."""


class ModelShapeWrong(ModelError):
    """A tensor's shape is not what the card says: correct `input` or `layout` of the card."""


class ModelDtypeWrong(ModelError):
    """A tensor's type is not what the card says, or cannot be decoded: correct the card or convert anew."""


class ModelLabelsWrong(ModelError):
    """The model has another number of classes than the card has labels: correct `labels` of the card."""


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a frame becomes the input tensor (1, height_px, width_px, 3)."""

    width_px: Px
    height_px: Px
    dtype: Literal["uint8", "int8", "float32"]
    channels: Literal["rgb", "bgr"] = "rgb"
    fit: Literal["letterbox", "stretch"] = "letterbox"
    pad: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    """The level of a letterbox's bars, before normalization."""
    mean: Triple | None = None
    """Levels 0–255, per channel in the order of `channels`: the model wants (level − mean) / std."""
    std: Triple | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError("wanted both `mean` and `std`, or neither")
        if self.std is not None and min(self.std) < _MIN_STD:
            raise ValueError(f"std: wanted three values of {_MIN_STD:g} or more, got {list(self.std)}")


class SsdLayout(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="kind",
    tag="ssd-postprocess",
):
    """The four outputs of the op TFLite_Detection_PostProcess: boxes, classes, scores, count."""

    class_offset: Annotated[int, msgspec.Meta(ge=0, le=1)] = 0
    """Added to the class that the model gives, to index `labels`."""
    outputs: dict[Literal["boxes", "classes", "scores", "count"], str] = {}
    """Output names, for a model whose names do not follow their order; all four or none."""

    def __post_init__(self) -> None:
        if self.outputs and len(self.outputs) != 4:
            raise ValueError(f"outputs: wanted boxes, classes, scores and count, got {sorted(self.outputs)}")


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where some channels of every cell are found."""

    tensors: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Output names: one tensor with the cells of all strides, or one tensor for each stride."""
    first: Annotated[int, msgspec.Meta(ge=0)] = 0
    """The first channel; the last comes before the next term of the same tensor, or is the tensor's last."""
    activation: Literal["none", "sigmoid"] = "none"


class GridLayout(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="grid"
):
    """Raw anchor-free maps: the cells of each stride row by row, their channels last.

    Tensors are (1, cells, channels) or (1, rows, cols, channels). A cell's point, in input pixels, is
    ((col + origin) · stride, (row + origin) · stride).
    """

    strides: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=256)], ...], msgspec.Meta(min_length=1)]
    coding: Literal["ltrb", "ltrb-dfl", "xywh-exp"]
    """What box terms mean. `ltrb`: distances from the point to left, top, right and bottom, in strides.
    `ltrb-dfl`: each distance is the mean of a softmax over `bins` (Generalized Focal Loss).
    `xywh-exp`: offset of the centre, and logarithm of the size, in strides (YOLOX)."""
    boxes: Term
    classes: Term
    objectness: Term | None = None
    """Multiplied into every class score."""
    origin: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    bins: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    nms_iou: Score
    max_detections: Annotated[int, msgspec.Meta(ge=1, le=256)] = 100

    def __post_init__(self) -> None:
        if (self.coding == "ltrb-dfl") != (self.bins > 1):
            raise ValueError(f"bins: wanted 2 or more with `ltrb-dfl` and none otherwise, got {self.bins}")
        if self.boxes.activation != "none":
            raise ValueError("boxes.activation: wanted none: `coding` says what box terms mean")
        counts = {len(term.tensors) for term in self.terms}
        if counts - {1, len(self.strides)} or len(counts) != 1:
            raise ValueError(f"tensors: wanted 1 or {len(self.strides)} in each term, got {sorted(counts)}")

    @property
    def terms(self) -> tuple[Term, ...]:
        """Boxes, classes and, where there is one, objectness."""
        return (self.boxes, self.classes) + ((self.objectness,) if self.objectness else ())


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The least score of a detection."""

    default: Score
    labels: dict[str, Score] = {}


GOOD = "good"
"""What is said of a model that finds in the built-in drawing what its card expects."""


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A detection that the model makes of the built-in drawing."""

    label: str
    score: Score
    box: tuple[Share, Share, Share, Share]
    """x0, y0, x1, y1 in 0–1 of the drawing."""


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the model finds in the built-in drawing (`edge/vision/golden.py`), and how far off it may be."""

    detections: Annotated[tuple[Expected, ...], msgspec.Meta(min_length=1, max_length=16)]
    score_within: Score = 0.12
    """The two runtimes, and processors, round a quantized model differently."""
    iou: Score = 0.75


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long a look may take, from a frame to what is in it."""

    p50_s: Seconds
    """Half of the looks, on any board."""
    boards: dict[str, Seconds] = {}
    """What half of the looks took where somebody measured it, by how the board's name begins."""


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the model comes from."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s\0]+\Z")] | None = None
    member: str | None = None
    """The model's name inside the zip archive at `url`."""
    trained_on: str
    notices: str


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole model card, as `models/<name>.toml` holds it. docs/model-card.md explains every key."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]*\Z", max_length=64)]
    file: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.tflite\Z", max_length=128)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)]
    licence: str
    labels: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=4096)]
    """Line n is class n."""
    input: InputSpec
    layout: SsdLayout | GridLayout
    threshold: Threshold
    provenance: Provenance
    measured: dict[str, int | float | str] = {}
    golden: Golden | None = None
    latency: Latency | None = None

    def __post_init__(self) -> None:
        if unprintable := [label for label in self.labels if not (label.strip() and label.isprintable())]:
            raise ValueError(f"labels: wanted names that can be printed, got {unprintable}")
        used = self.named_labels
        if doubled := sorted({label for label in used if used.count(label) > 1}):
            raise ValueError(f"labels: wanted each once, got {doubled} again")
        if unknown := sorted(set(self.threshold.labels) - set(used)):
            raise ValueError(f"threshold.labels: wanted names of `labels`, got {unknown}")
        drawn = () if self.golden is None else self.golden.detections
        if unknown := sorted({each.label for each in drawn} - set(used)):
            raise ValueError(f"golden.detections: wanted names of `labels`, got {unknown}")
        if personal := [label for label in used if tells_of_a_person(label)]:
            raise CardRefused(
                f"labels: wanted things and `person`, in Latin letters, got {personal}: "
                "no faces, emotions or biometrics"
            )

    @property
    def named_labels(self) -> tuple[str, ...]:
        """What the model can tell of: `labels` without the unused."""
        return tuple(label for label in self.labels if label != UNUSED)

    def threshold_of(self, label: str) -> float:
        """Return the least score of a detection of `label`, 0–1."""
        return self.threshold.labels.get(label, self.threshold.default)


def load_card(path: Path) -> Card:
    """Read and check a card. Raises CardMissing, CardInvalid or CardRefused, naming file and key."""
    try:
        card = msgspec.toml.decode(read_bounded(path, _MAX_BYTES), type=Card, strict=True)
    except FileNotFoundError:
        raise CardMissing(f"{path}: wanted a model card, got no such file") from None
    except OSError as error:
        kind = CardInvalid if error.errno == errno.EFBIG else CardMissing
        raise kind(f"{path}: wanted a model card, got {error.strerror}") from error
    except CardRefused as error:
        raise CardRefused(f"{path}: {error}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CardInvalid(f"{path}: {error}") from error
    return card
