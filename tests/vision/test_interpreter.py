"""One contract for every interpreter: the runtimes that are installed, and the scripted one."""

import os

import numpy as np
import pytest

from edge.vision.interpreter import (
    Interpreter,
    InterpreterMissing,
    ModelUnreadable,
    Runtime,
    Tensor,
    TfliteInterpreter,
    _native_notes,
)
from edge.vision.model_file import DEFAULT_CARD, checkout
from edge.vision.standin import ScriptedInterpreter

MODEL = checkout() / "models" / f"{DEFAULT_CARD}.tflite"
INPUT = (1, 320, 384, 3)


def real(backend) -> TfliteInterpreter:
    try:
        return TfliteInterpreter(MODEL, 2, backend)
    except InterpreterMissing as missing:
        pytest.skip(str(missing))


def scripted() -> ScriptedInterpreter:
    outputs = (Tensor("boxes", (1, 10, 4), "float32"), Tensor("count", (1,), "float32"))
    script = [(np.full((1, 10, 4), n, np.float32), np.full((1,), n, np.float32)) for n in range(3)]
    return ScriptedInterpreter(Tensor("image", INPUT, "uint8"), outputs, script)


@pytest.fixture(params=["litert", "tflite", "scripted"])
def interpreter(request) -> Interpreter:
    return scripted() if request.param == "scripted" else real(request.param)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, INPUT, np.uint8)


def test_it_describes_its_input_and_outputs(interpreter):
    assert interpreter.input.shape == INPUT
    assert interpreter.input.dtype == "uint8"
    outputs = interpreter.invoke(picture(0))
    assert [(array.shape, array.dtype.name) for array in outputs] == [
        (tensor.shape, tensor.dtype) for tensor in interpreter.outputs
    ]
    assert {tensor.shape for tensor in (interpreter.input, *interpreter.outputs)} <= interpreter.inner_shapes
    assert interpreter.runtime.name
    assert interpreter.runtime.version


def test_outputs_are_the_callers_own(interpreter):
    first = interpreter.invoke(picture(1))
    kept = [array.copy() for array in first]
    second = interpreter.invoke(picture(2))
    assert any((a != b).any() for a, b in zip(first, second, strict=True))
    for array, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, copy)
        array[...] = 0  # writable, and nothing of the interpreter's


@pytest.mark.parametrize(
    "fed",
    [
        np.zeros((1, 319, 384, 3), np.uint8),
        np.zeros(INPUT[1:], np.uint8),
        np.zeros(INPUT, np.float32),
        np.zeros(INPUT, np.int8),
    ],
    ids=["size", "rank", "float", "int8"],
)
def test_a_wrong_input_is_refused_and_the_next_one_runs(interpreter, fed):
    with pytest.raises(ValueError, match=r"\S"):
        interpreter.invoke(fed)
    interpreter.invoke(picture(3))


def test_an_input_of_padded_rows_is_taken(interpreter):
    wide = np.zeros((1, 320, 448, 3), np.uint8)
    wide[:, :, :384] = picture(4)
    interpreter.invoke(wide[:, :, :384])


def test_the_scripted_interpreter_keeps_what_it_was_fed():
    standin = scripted()
    fed = picture(5)
    for n, count in enumerate([0.0, 1.0, 2.0, 2.0]):
        fed[0, 0, 0, 0] = n
        assert standin.invoke(fed)[1][0] == count
    assert [array[0, 0, 0, 0] for array in standin.fed] == [0, 1, 2, 3]
    assert standin.invocations == 4


def test_a_script_that_does_not_fit_its_tensors_is_refused():
    tensor = Tensor("scores", (1, 3), "int8", 0.1, 0)
    with pytest.raises(ValueError, match=r"scores: wanted int8 \(1, 3\), got int8 \(1, 4\)"):
        ScriptedInterpreter(tensor, (tensor,), [(np.zeros((1, 4), np.int8),)])
    with pytest.raises(ValueError, match="one step"):
        ScriptedInterpreter(tensor, (tensor,), [])


@pytest.mark.parametrize("backend", ["litert", "tflite"])
def test_an_interpreter_that_is_not_installed_is_named(backend, tmp_path):
    try:
        TfliteInterpreter(tmp_path / "none", 1, backend)
    except InterpreterMissing as missing:
        assert {"litert": "ai-edge-litert", "tflite": "tflite-runtime"}[backend] in str(missing)  # noqa: PT017
    except ModelUnreadable:
        pass  # it is installed, and finds no model


@pytest.mark.parametrize("content", [b"", b"\x1c\0\0\0TFL3" + bytes(64), b"a text file\n" * 9])
def test_a_model_that_the_runtime_refuses_is_an_error(tmp_path, content):
    model = tmp_path / "broken.tflite"
    model.write_bytes(content)
    with pytest.raises(ModelUnreadable, match=r"broken\.tflite"):
        TfliteInterpreter(model, 1)


def test_a_quantized_tensor_tells_its_scale_and_a_float_one_none(shared):
    interpreter = TfliteInterpreter(shared / "models" / "ssd_mobilenet_v1_coco_quant.tflite", 1)
    assert (interpreter.input.scale, interpreter.input.zero_point) == (0.0078125, 128)
    assert interpreter.outputs[0].scale == 0.0
    assert isinstance(interpreter.runtime, Runtime)


def test_loading_a_model_writes_nothing_to_standard_error_but_keeps_what_others_write(capfd):
    TfliteInterpreter(MODEL, threads=1)
    assert capfd.readouterr().err == ""
    with _native_notes():
        os.write(2, b"INFO: a note of the runtime\nERROR: a fault\n")
    assert capfd.readouterr().err == "ERROR: a fault\n"
