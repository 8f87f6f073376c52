"""The model's checks, each made to fail by a real fault of file, card, or what feeds and reads it."""

import hashlib
import shutil
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edge.clock import SteppedClock
from edge.config import BrokerTable, Config, ModelTable, PathsTable, UnitTable
from edge.counts import Counts
from edge.diagnosis import model
from edge.diagnosis.check import Patient, Status
from edge.diagnosis.model import CHECKS
from edge.diagnosis.runner import run_check
from edge.facts import watch_facts
from edge.policy.document import parse_policy, shortest_hold_s
from edge.uplink.lockfile import LockFile
from edge.vision.card import CardInvalid, load_card
from edge.vision.detector import Detector
from edge.vision.golden import GOOD, compared, deviation, drawing, proven
from edge.vision.interpreter import InterpreterMissing, TfliteInterpreter
from edge.vision.model_file import DEFAULT_CARD, ModelMissing, find_card
from edge.vision.types import Box, Detection
from tests.diagnosis.test_glimpse import POLICY
from tests.test_watch import MONDAY

CHECK = {check.name: check for check in CHECKS}
CARD = find_card(DEFAULT_CARD)
FAULTS = {
    ("model.hash", "card-unusable"): "model.card",
    ("model.hash", "missing"): "model check",
    ("model.hash", "changed"): "SD card",
    ("model.hash", "another-runs"): "restart",
    ("model.golden", "differs"): "anew",
    ("model.golden", "no-interpreter"): "ai-edge-litert",
    ("model.golden", "does-not-load"): "model.hash",
    ("model.latency", "too-slow-for-rules"): "hold_s",
    ("model.latency", "slower-than-card"): "power.temperature",
}
PROVEN = frozenset(FAULTS)


@pytest.fixture
def patient(tmp_path):
    """A unit that does not run, with a copy of the model that can be broken."""
    for suffix in (".toml", ".tflite"):
        shutil.copy(CARD.with_suffix(suffix), tmp_path / f"{CARD.stem}{suffix}")
    (tmp_path / "state").mkdir()
    (tmp_path / "policy.json").write_bytes(msgspec.json.encode(POLICY))
    config = Config(
        unit=UnitTable(tenant="acme", id="cam-1"),
        broker=BrokerTable(host="127.0.0.1", port=1883),
        model=ModelTable(card=str(tmp_path / CARD.name)),
        paths=PathsTable(state=tmp_path / "state", policy=tmp_path / "policy.json"),
    )
    return Patient(SteppedClock(MONDAY), tmp_path / "unit.toml", config, root=tmp_path / "root")


def swap_channels(tmp_path, card):
    card.write_text(card.read_text().replace('fit = "stretch"', 'fit = "stretch"\nchannels = "bgr"'))


def test_a_changed_file_is_told_in_a_line_and_once(patient, tmp_path, monkeypatch):
    hurt = injected("changed", patient, tmp_path, monkeypatch)
    values = {name: run_check(CHECK[name], hurt).value for name in ("model.hash", "model.golden")}
    assert values["model.hash"].startswith(f"{CARD.stem}.tflite: wanted sha256 ")
    assert len(values["model.hash"]) < 100
    assert "sha256" not in values["model.golden"]


def facts(seconds: float, **more) -> dict:
    """What a watch tells whose every look takes so long."""
    counts = Counts()
    for _ in range(20):
        counts.latencies.add(seconds)
    return {**watch_facts(counts, 0.0), "policy.shortest_hold_s": 2.0, **more}


def injected(code, patient, tmp_path, monkeypatch) -> Patient:  # noqa: C901  a case for each fault
    card, file = tmp_path / CARD.name, tmp_path / f"{CARD.stem}.tflite"
    match code:
        case "card-unusable":
            card.write_text(card.read_text().replace("[threshold]", "[treshold]"))
        case "missing":
            file.unlink()
            monkeypatch.setattr(model, "model_folders", lambda _card: [tmp_path])
        case "changed":
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
        case "another-runs":
            return replace(patient, facts={"model.sha256": "0" * 64})
        case "differs":
            swap_channels(tmp_path, card)
        case "no-interpreter":

            def none(*_args, **_more):
                raise InterpreterMissing("wanted an interpreter, got none of ai-edge-litert, tflite-runtime")

            monkeypatch.setattr("edge.vision.interpreter._runtime", none)
        case "does-not-load":
            file.write_bytes(file.read_bytes()[:-4096])
        case "too-slow-for-rules":
            return replace(patient, facts=facts(1.2))
        case "slower-than-card":
            return replace(patient, facts=facts(0.7))
    return patient


@pytest.mark.parametrize(("name", "code"), FAULTS, ids="/".join)
def test_a_fault_is_found_with_what_to_do(name, code, patient, tmp_path, monkeypatch):
    result = run_check(CHECK[name], injected(code, patient, tmp_path, monkeypatch))
    warns = code in ("another-runs", "slower-than-card")
    assert (result.status, result.code) == (Status.WARN if warns else Status.FAIL, code), result
    assert result.hint == CHECK[name].hints[code]
    assert FAULTS[name, code] in result.hint
    assert result.value


def test_the_model_that_ships_passes_and_is_run_once_for_both_checks(patient, monkeypatch):
    loads, load = [], Detector.load
    monkeypatch.setattr(Detector, "load", lambda *args, **more: loads.append(args) or load(*args, **more))
    results = [run_check(check, patient) for check in CHECKS]
    assert [each.status for each in results] == [Status.PASS] * 3, results
    assert "any board" in results[2].limit
    assert len(loads) == 1


def test_of_a_running_unit_the_facts_count(patient):
    seen = replace(patient, facts=facts(0.02, **{"model.golden": GOOD}), inside=True)
    assert [run_check(check, seen).status for check in CHECKS] == [Status.PASS] * 3
    wrong = replace(patient, facts=facts(0.02, **{"model.golden": "wanted person 0.66, got none there"}))
    assert run_check(CHECK["model.golden"], wrong).code == "differs"
    young = replace(patient, facts={**watch_facts(Counts(), 0.0), "capture.state": "off-shift"})
    assert run_check(CHECK["model.latency"], young).status == Status.SKIP


def test_a_silent_unit_has_the_memory_so_no_second_model_is_loaded(patient):
    lock = LockFile.hold(patient.config.paths.state / "spool.db.lock")
    try:
        assert run_check(CHECK["model.golden"], patient).value == "a unit runs here and does not answer"
    finally:
        lock.release()


def test_a_board_that_was_measured_has_a_limit_of_its_own(patient, tmp_path):
    card = tmp_path / CARD.name
    card.write_text(card.read_text() + 'boards = {"Raspberry Pi 5" = 0.05, "Raspberry Pi" = 0.3}\n')
    board = tmp_path / "root/proc/device-tree/model"
    board.parent.mkdir(parents=True)
    board.write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    slow = run_check(CHECK["model.latency"], replace(patient, facts=facts(0.08)))
    assert (slow.code, slow.limit) == ("slower-than-card", "p50 under 65 ms, the card's for Raspberry Pi 5")
    board.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    assert run_check(CHECK["model.latency"], replace(patient, facts=facts(0.08))).status == Status.PASS


@pytest.mark.parametrize("hold_s", [1.0, 2.0, 10.0])
def test_the_shortest_rule_sets_the_limit(patient, hold_s):
    rule = {"id": "phone", "kind": "object", "labels": ["cell phone"], "hold_s": hold_s}
    blind = {"id": "blind", "kind": "tamper", "hold_s": 0.5}
    policy = parse_policy(msgspec.json.encode({**POLICY, "rules": [rule, blind]}))
    assert shortest_hold_s(policy) == hold_s
    for took_s, code in ((hold_s / 2 + 0.01, "too-slow-for-rules"), (min(hold_s / 2, 0.5) - 0.01, "")):
        seen = replace(patient, facts=facts(took_s, **{"policy.shortest_hold_s": hold_s}))
        assert run_check(CHECK["model.latency"], seen).code == code


# The drawing and what is made of it.


def test_the_drawing_is_the_same_to_the_last_bit():
    """Anything that draws it otherwise makes every card's figures untrue."""
    picture = drawing()
    assert (picture.shape, picture.dtype) == ((480, 640, 3), np.uint8)
    assert hashlib.sha256(picture.tobytes()).hexdigest() == DRAWN


DRAWN = "170010d0a8c314974e1323bb2942958132712abf32329fdf84f567f8ec118b2e"


@pytest.mark.parametrize("threads", [1, 2])
def test_the_model_that_ships_sees_in_it_what_its_card_says(threads):
    assert deviation(Detector.load(CARD, threads=threads)) is None


def test_every_expected_detection_lies_well_above_its_threshold():
    """Else a rounding of another processor would make it vanish."""
    for path in CARD.parent.glob("*.toml"):
        card = load_card(path)
        assert card.golden is not None, path
        for expected in card.golden.detections:
            assert expected.score - card.golden.score_within >= card.threshold_of(expected.label), path


@pytest.mark.parametrize("part", range(1, 5))
def test_damage_that_the_hash_came_after_is_found(part, tmp_path):
    """Sixty-four kilobytes of weights are gone, and the card was made for the file as it is now."""
    data = bytearray(CARD.with_suffix(".tflite").read_bytes())
    middle = part * len(data) // 6
    data[middle : middle + 65_536] = bytes(65_536)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(data)
    assert deviation(Detector(load_card(CARD), TfliteInterpreter(broken, 2))) is not None


class Wrong:
    """An interpreter whose outputs are not the model's."""

    def __init__(self, real, outputs):
        self._real, self._outputs = real, outputs
        self.runtime, self.input, self.outputs = real.runtime, real.input, real.outputs
        self.inner_shapes = real.inner_shapes

    def invoke(self, fed):
        return self._outputs(self._real, fed)


WRONG = {
    "zeros": lambda real, fed: tuple(np.zeros_like(each) for each in real.invoke(fed)),
    "the last picture's": lambda real, fed: real.invoke(np.zeros_like(fed)),
    "upside down": lambda real, fed: real.invoke(np.ascontiguousarray(fed[:, ::-1])),
    "mirrored": lambda real, fed: real.invoke(np.ascontiguousarray(fed[:, :, ::-1])),
    "grey": lambda real, fed: real.invoke(np.repeat(fed[..., 1:2], 3, axis=3)),
    "inverted": lambda real, fed: real.invoke(255 - fed),
    "scores halved": lambda real, fed: tuple(
        each if "box" in tensor.name else each // 2
        for each, tensor in zip(real.invoke(fed), real.outputs, strict=True)
    ),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_fed_or_read_wrongly_is_found(how):
    real = Detector.load(CARD)
    assert deviation(Detector(real.card, Wrong(real.interpreter, WRONG[how]))) is not None


def test_an_interpreter_that_breaks_is_told_and_stops_nobody():
    def breaks(_real, _fed):
        raise RuntimeError("no delegate")

    real = Detector.load(CARD)
    assert "no delegate" in proven(Detector(real.card, Wrong(real.interpreter, breaks)))


def test_swapped_channels_are_found_in_every_card_whose_model_is_here():
    for path in CARD.parent.glob("*.toml"):
        try:
            detector = Detector.load(path)
        except ModelMissing:
            continue
        assert deviation(detector) is None, path
        picture = np.ascontiguousarray(drawing()[:, :, ::-1])
        found = detector.detect(detector.view(picture))
        assert compared(detector.card, found) is not None, path


def test_what_the_card_does_not_expect_may_not_be_seen_clearly():
    card = load_card(CARD)
    seen = [Detection(each.label, each.score, Box(*each.box)) for each in card.golden.detections]
    assert compared(card, seen) is None
    assert (
        compared(card, [*seen, Detection("food", 0.95, Box(0, 0, 1, 1))]) == "wanted no food, got one of 0.95"
    )
    assert compared(card, seen[1:]).startswith(f"wanted {seen[0].label}")


def test_a_card_without_it_expects_nothing_and_one_of_unknown_labels_is_refused(tmp_path):
    card = msgspec.structs.replace(load_card(CARD), golden=None)
    detector = Detector(card, Detector.load(CARD).interpreter)
    assert deviation(detector) is None
    assert proven(detector) is None
    wrong = tmp_path / "card.toml"
    wrong.write_text(CARD.read_text().replace('{label = "laptop", score', '{label = "lamp", score'))
    with pytest.raises(CardInvalid, match=r"golden\.detections.*lamp"):
        load_card(wrong)
