"""The one place that touches an interpreter: LiteRT where it is installed, tflite-runtime otherwise."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from edge.errors import EdgeError
from edge.vision.card import ModelError

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Backend = Literal["auto", "litert", "tflite"]


class InterpreterMissing(EdgeError):
    """No interpreter: install ai-edge-litert, or on Python 3.11 the extra deskwatch[tflite]."""


class ModelUnreadable(ModelError):
    """The interpreter refuses the model (an unknown op, a broken graph): convert it with builtin ops only."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Which interpreter runs, for reports."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a model. A value q means (q − zero_point) · scale; scale 0: not quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


class Interpreter(Protocol):
    """One loaded model. One thread at a time."""

    runtime: Runtime
    input: Tensor
    outputs: tuple[Tensor, ...]
    inner_shapes: frozenset[tuple[int, ...]]
    """The shapes of all tensors of the graph."""

    def invoke(self, fed: Array) -> tuple[Array, ...]:
        """Run the model once on `fed`, of the input's shape and dtype, and return its outputs in their order.

        The arrays returned are the caller's own. Raises ValueError for another shape or dtype.
        """
        ...


class TfliteInterpreter:
    """An `Interpreter` over the TFLite runtime, which has the same Python face under both of its names."""

    def __init__(self, model: Path, threads: int, backend: Backend = "auto") -> None:
        make, self.runtime = _runtime(backend)
        try:
            with _native_notes():
                self._tflite = make(model_path=str(model), num_threads=threads)
                self._tflite.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelUnreadable(
                f"{model}: {self.runtime.name} {self.runtime.version} says: {error}"
            ) from error
        inputs, outputs = self._tflite.get_input_details(), self._tflite.get_output_details()
        if len(inputs) != 1:
            raise ModelUnreadable(f"{model}: wanted one input, got {len(inputs)}")
        self.input = _tensor(inputs[0])
        self.outputs = tuple(_tensor(details) for details in outputs)
        self.inner_shapes = frozenset(_shape(details) for details in self._tflite.get_tensor_details())
        self._input_index = int(inputs[0]["index"])
        self._output_indexes = tuple(int(details["index"]) for details in outputs)

    def invoke(self, fed: Array) -> tuple[Array, ...]:
        """Run the model once. See `Interpreter.invoke`."""
        # Copies, not views: a view that outlives the call, in a traceback say, makes every later invoke fail.
        tflite = self._tflite
        tflite.set_tensor(self._input_index, fed)
        tflite.invoke()
        return tuple([tflite.get_tensor(index) for index in self._output_indexes])

    def invoke_again(self) -> None:
        """Run the bare model on the input of the last `invoke`: what a benchmark compares with."""
        self._tflite.invoke()


@contextmanager
def _native_notes() -> Iterator[None]:
    """Log the runtime's own INFO lines as such; it writes them to standard error past Python, at every load.

    All else that is written there meanwhile is passed on.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # a daemon may have none
        yield
        return
    with os.fdopen(os.memfd_create("notes"), "w+b") as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            notes.seek(0)
            for line in notes:
                if line.startswith(b"INFO: "):
                    log.debug("%s", line.decode("utf-8", "replace").strip())
                else:
                    os.write(2, line)


def _runtime(backend: Backend) -> tuple[Callable[..., Any], Runtime]:
    """Import the interpreter asked for. Raises InterpreterMissing with the reason of each that failed."""
    reasons = []
    for name, load, package in (
        ("litert", _load_litert, "ai-edge-litert"),
        ("tflite", _load_tflite, "tflite-runtime"),
    ):
        if backend in ("auto", name):
            try:
                return load(), Runtime(package, version(package))
            except ImportError as error:
                reasons.append(f"{package} ({error})")
    raise InterpreterMissing(f"wanted an interpreter, got none of {', '.join(reasons)}")


def _load_litert() -> Callable[..., Any]:
    from ai_edge_litert.interpreter import Interpreter as LiteRt  # noqa: PLC0415 (one of the two is absent)

    return LiteRt  # type: ignore[no-any-return]


def _load_tflite() -> Callable[..., Any]:
    from tflite_runtime.interpreter import Interpreter as Tflite  # noqa: PLC0415 (one of the two is absent)

    return Tflite  # type: ignore[no-any-return]


def _shape(details: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(side) for side in details["shape"])


def _tensor(details: dict[str, Any]) -> Tensor:
    scale, zero_point = details["quantization"]
    return Tensor(
        details["name"], _shape(details), np.dtype(details["dtype"]).name, float(scale), int(zero_point)
    )
