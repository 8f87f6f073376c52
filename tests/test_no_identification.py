"""Privacy floor 7 and 4: nothing in the firmware tells people apart, keeps what would, or listens.

Of the code itself: what it imports, which functions of a library that could do it are used, what goes on the
wire. Each check is run on a line that breaks it, too.
"""

import ast
import importlib
import pkgutil
import re
import sys
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

import edge
from edge.vision.types import Box, Detection, Track

PACKAGE = Path(edge.__file__).parent
THIRD_PARTIES = {
    *("ai_edge_litert", "amqtt", "cryptography", "cv2", "gpiozero", "joserfc", "msgspec", "numpy", "paho"),
    *("picamera2", "rich", "tflite_runtime", "yaml"),
}
"""None of them knows faces or sound, but for parts of cv2 and picamera2, which `FORBIDDEN_NAMES` is about."""
SOUND_OF_PYTHON = {"aifc", "audioop", "chunk", "ossaudiodev", "sndhdr", "sunau", "wave", "winsound"}
FORBIDDEN_NAMES = re.compile(
    r"audio|microphone|pcm|alsa|"  # picamera2's encoders take audio=True
    r"face|cascade|recogni[sz]er|\bdnn|landmark|embed|"  # FaceDetectorYN, FaceRecognizerSF, CascadeClassifier
    r"^(imwrite|imwritemulti|save|savez|savez_compressed|savetxt|tofile|memmap|pickle|FileStorage)$",
    re.IGNORECASE,
)
"""Of functions, parameters and attributes: what hears, what knows faces, what writes arrays to a disk."""
INNOCENT_NAMES = {"surface", "interface", "add_interface"}
FORBIDDEN_TEXT = re.compile(r"/dev/(snd|dsp|audio)|\balsa\b|pulseaudio|pipewire|haarcascade", re.IGNORECASE)
WRITES_PICTURES = {"detect.py", "thumbnail.py"}
"""The boxes drawn for somebody who gives `deskwatch detect` a file, and the redacted thumbnail in memory."""


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def imported(tree):
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
            case ast.Call(
                func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(module)), *_]
            ):
                yield module


def names(tree):
    """Every identifier: what is imported, called, read, written, or passed by keyword."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Attribute(attr=name) | ast.Name(id=name) | ast.keyword(arg=str(name)) | ast.arg(arg=name)
            ):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(name=name):
                yield from name.split(".")


def docstrings(tree):
    """String statements: the words of docstrings are free."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def wrong(source, name="x.py"):
    """What a module's source has that no module of the firmware may have."""
    tree = ast.parse(source)
    roots = {module.partition(".")[0] for module in imported(tree)} - {"edge", "_typeshed", "libcamera"}
    found = {root for root in roots if root not in sys.stdlib_module_names and root not in THIRD_PARTIES}
    found |= roots & SOUND_OF_PYTHON
    found |= {each for each in names(tree) if FORBIDDEN_NAMES.search(each)} - INNOCENT_NAMES
    if name not in WRITES_PICTURES:
        found |= {"imencode"} & set(names(tree))
    free = docstrings(tree)
    found |= {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in free
        if FORBIDDEN_TEXT.search(node.value)
    }
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_hears_knows_faces_or_writes_arrays_to_a_disk(path):
    assert wrong(path.read_text(encoding="utf-8"), path.name) == set()


@pytest.mark.parametrize(
    "line",
    [
        "import face_recognition",
        "from insightface.app import FaceAnalysis",
        "import importlib; importlib.import_module('dlib')",
        "import sounddevice",
        "def f():\n    import pyaudio",
        "import wave",
        "import cv2; cv2.FaceDetectorYN.create('m', '', (1, 1))",
        "import cv2; cv2.CascadeClassifier('x')",
        "from cv2 import face",
        "import cv2; cv2.dnn.readNet('x')",
        "encoder.start(audio=True)",
        "open('/dev/snd/pcmC0D0c')",
        "import numpy as np; np.save('f', a)",
        "a.tofile('f')",
        "import cv2; cv2.imwrite('f.png', a)",
        "import cv2; cv2.imencode('.png', a)",
        "import pickle",
        "class Detection:\n    embedding: bytes",
    ],
)
def test_a_line_that_would_is_found(line):
    assert wrong(line)


def test_what_is_known_of_a_thing_is_a_label_a_score_and_a_box():
    assert [field.name for field in fields(Box)] == ["x0", "y0", "x1", "y1"]
    assert [field.name for field in fields(Detection)] == ["label", "score", "box"]
    assert [field.name for field in fields(Track)] == [
        *("track_id", "label", "score", "box", "first_s", "last_s", "seen"),
    ]


def structs():
    """Every struct of the rooms whose structs leave the process: over the wire, to the log, to the socket."""
    for room in ("uplink", "worklog", "control"):
        if not (PACKAGE / room).is_dir():
            continue
        package = importlib.import_module(f"edge.{room}")
        for module in pkgutil.iter_modules(package.__path__, f"edge.{room}."):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, msgspec.Struct):
                    yield value


INFO = msgspec.inspect
NUMBERS = (INFO.FloatType, INFO.IntType)
SEQUENCES = (INFO.ListType, INFO.VarTupleType, INFO.SetType, INFO.FrozenSetType)


def parts(kind):
    """The types inside a type."""
    for name in ("item_type", "key_type", "value_type"):
        if (inner := getattr(kind, name, None)) is not None:
            yield inner
    yield from getattr(kind, "item_types", ())
    yield from getattr(kind, "types", ())


def vectors(kind, seen=()):
    """Sequences of numbers in a type that hold more than a box does, or have no bound."""
    if isinstance(kind, INFO.StructType):
        if kind.cls not in seen:
            for field in kind.fields:
                for found in vectors(field.type, (*seen, kind.cls)):
                    yield f"{kind.cls.__name__}.{field.name}: {found}"
        return
    inner = list(parts(kind))
    if isinstance(kind, SEQUENCES) and isinstance(inner[0], NUMBERS):
        yield "any number of numbers"
    if (
        isinstance(kind, INFO.TupleType)
        and len(inner) > 4
        and any(isinstance(each, NUMBERS) for each in inner)
    ):
        yield f"{len(inner)} numbers"
    for each in inner:
        yield from vectors(each, seen)


def test_no_message_has_room_for_a_vector_longer_than_a_box():
    found = {line for each in set(structs()) for line in vectors(msgspec.inspect.type_info(each))}
    assert found == set()
    assert {each.__name__ for each in structs()} >= {"OpenedEvent", "ClosedEvent"}


class Hidden(msgspec.Struct):
    boxes: tuple[tuple[float, float, float, float], ...]
    vector: list[float]


class Fixed(msgspec.Struct):
    five: tuple[float, float, float, float, float] | None


def test_a_vector_would_be_found():
    assert list(vectors(msgspec.inspect.type_info(Hidden))) == ["Hidden.vector: any number of numbers"]
    assert list(vectors(msgspec.inspect.type_info(Fixed))) == ["Fixed.five: 5 numbers"]
