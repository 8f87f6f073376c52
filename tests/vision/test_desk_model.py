"""The model that ships: what its file holds, whatever it sees."""

import importlib

import pytest

from edge.vision.card import load_card
from edge.vision.model_file import DEFAULT_CARD, find_card

CARD = load_card(find_card(DEFAULT_CARD))
MODEL = find_card(DEFAULT_CARD).with_name(CARD.file)


@pytest.fixture(params=["ai_edge_litert", "tflite_runtime"])
def interpreter(request):
    """The runtime itself: the firmware's own interpreter does not tell of the tensors between."""
    runtime = pytest.importorskip(f"{request.param}.interpreter", reason=f"no {request.param} here")
    # Without XNNPACK, which would hide the tensors that it works on.
    resolver = importlib.import_module(f"{request.param}.interpreter").OpResolverType
    made = runtime.Interpreter(
        str(MODEL), experimental_op_resolver_type=resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    made.allocate_tensors()
    return made


def test_nothing_in_it_is_calculated_in_floats(interpreter):
    kinds = {tensor["dtype"].__name__ for tensor in interpreter.get_tensor_details()}
    assert kinds == {"uint8", "int8", "int32"}
    (image,) = interpreter.get_input_details()
    assert image["dtype"].__name__ == "uint8"
    assert image["quantization"] == pytest.approx((1 / 255, 0))


def test_each_map_has_a_scale_of_its_own(interpreter):
    outputs = interpreter.get_output_details()
    assert {output["dtype"].__name__ for output in outputs} == {"int8"}
    scales = {output["name"]: output["quantization"][0] for output in outputs}
    assert len(scales) == 8
    assert len(set(scales.values())) == 8


def test_its_card_says_what_was_measured_and_whose_work_it_rests_on():
    assert {"ap50_person", "ap50_cell_phone", "rendered_ap50_cell_phone"} <= CARD.measured.keys()
    for name in ("NanoDet-Plus", "COCO", "CC BY 4.0"):
        assert name in CARD.provenance.notices + CARD.provenance.trained_on
    assert find_card(DEFAULT_CARD).with_suffix(".md").is_file()
