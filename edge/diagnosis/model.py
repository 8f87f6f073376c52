"""Whether the model is the one that its card describes, sees what it should, and is fast enough."""

import re
from threading import Lock

from edge.diagnosis.behind import policy_in_force, unit_that_holds
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned
from edge.diagnosis.tried import Tried
from edge.facts import Facts
from edge.policy.document import shortest_hold_s
from edge.vision.card import GOOD, Card, ModelError, load_card
from edge.vision.model_file import ModelMissing, check_model, find_card, find_model, model_folders

BOARD_FILE = "proc/device-tree/model"
SLACK = 1.3
"""How much slower than measured on such a board a look may be: warm boards and other work slow it."""
LOOKS_PER_HOLD = 2
LEAST_HOLD_S = 1.0
_BESIDE_S = 0.5
"""A try that took too long still goes on: it is not waited for a second time."""
_NO_CONFIG = "unit.toml cannot be read"


_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_trying = Lock()


def probe_hash(patient: Patient) -> Verdict:
    """Compare the model file with its card, and with what the unit runs."""
    if patient.config is None:
        return skipped(_NO_CONFIG)
    table = patient.config.model
    try:
        path = find_card(table.card)
        card = load_card(path)
    except ModelError as error:
        return failed("card-unusable", str(error), "a model card that can be read")
    try:
        file = find_model(card, model_folders(path))
    except ModelMissing:
        return failed("missing", "in none of its folders", card.file)
    try:
        check_model(card, file, file.name)
    except ModelMissing as error:
        return failed("missing", str(error), card.file)
    except ModelError as error:
        return failed("changed", _HASH.sub(r"\1", str(error)), card.sha256[:12])
    runs = (patient.facts or {}).get("model.sha256")
    if runs not in (None, card.sha256):
        return warned("another-runs", f"the unit runs {str(runs)[:12]}", f"{card.name}, {card.sha256[:12]}")
    return passed(f"{card.name}, {card.sha256[:12]}")


def probe_golden(patient: Patient) -> Verdict:
    """Have the model look at the built-in drawing; a unit that runs did so at its start."""
    wanted = "what its card says of the built-in drawing"
    if patient.facts is not None:
        return _golden_of(patient.facts, wanted)
    tried = _tried(patient)
    if not isinstance(tried, Tried):
        return tried
    if tried.card.golden is None:
        return skipped(f"the card of {tried.card.name} does not say what is expected")
    return passed(GOOD, wanted) if tried.differs is None else failed("differs", tried.differs, wanted)


def _golden_of(facts: Facts, wanted: str) -> Verdict:
    said = facts.get("model.golden")
    if said is None:
        return skipped("not tried: safe mode, or the card does not say what is expected")
    return passed(GOOD, wanted) if said == GOOD else failed("differs", str(said), wanted)


def probe_latency(patient: Patient) -> Verdict:
    """Compare how long a look takes with what the rules need, and with what the card says."""
    if patient.config is None:
        return skipped(_NO_CONFIG)
    if patient.facts is not None:
        p50_s, p95_s = (_number(patient.facts, f"watch.inference_{each}_s") for each in ("p50", "p95"))
        if p50_s is None or p95_s is None:
            return skipped(f"nothing was looked at since the start: {patient.facts.get('capture.state')}")
        hold_s = _number(patient.facts, "policy.shortest_hold_s")
        try:
            card = load_card(find_card(patient.config.model.card))
        except ModelError as error:
            return skipped(str(error))
    else:
        tried = _tried(patient)
        if not isinstance(tried, Tried):
            return skipped("the model cannot be run: see model.golden")
        card, p50_s, p95_s, policy = tried.card, tried.p50_s, tried.p95_s, policy_in_force(patient.config)
        hold_s = None if policy is None else shortest_hold_s(policy)
    return _fast_enough(card, board_of(patient), p50_s, p95_s, hold_s)


def _fast_enough(card: Card, board: str, p50_s: float, p95_s: float, hold_s: float | None) -> Verdict:
    """Fail where a rule may rest on one look alone; warn where looks are slower than the card's."""
    value = f"p50 {_ms(p50_s)}, p95 {_ms(p95_s)}"
    if hold_s is not None:
        limit_s = max(hold_s, LEAST_HOLD_S) / LOOKS_PER_HOLD
        if p95_s > limit_s:
            limit = f"p95 under {_ms(limit_s)}: {LOOKS_PER_HOLD} looks while the shortest rule holds"
            return failed("too-slow-for-rules", value, limit)
    wanted_s, why = _wanted(card, board)
    if wanted_s is None:
        return passed(value)
    limit = f"p50 under {_ms(wanted_s)}, {why}"
    return passed(value, limit) if p50_s <= wanted_s else warned("slower-than-card", value, limit)


def _wanted(card: Card, board: str) -> tuple[float | None, str]:
    if card.latency is None:
        return None, ""
    for name, measured_s in sorted(card.latency.boards.items(), key=lambda each: -len(each[0])):
        if board.startswith(name):
            return min(measured_s * SLACK, card.latency.p50_s), f"the card's for {name}"
    return card.latency.p50_s, "the card's for any board"


def board_of(patient: Patient) -> str:
    """Return what board this is, as its device tree says; empty where there is none."""
    try:
        return (patient.root / BOARD_FILE).read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""


def _tried(patient: Patient) -> Tried | Verdict:
    """Load the model and run it, once for all checks of this patient; or say why not."""
    if patient.config is None:
        return skipped(_NO_CONFIG)
    if (holder := unit_that_holds(patient.config)) is not None:
        return skipped(holder)
    if not _trying.acquire(timeout=_BESIDE_S):
        return skipped("the try that was begun before has not ended")
    try:
        if "model" not in patient.found:
            # Only who runs the model needs what that takes.
            from edge.diagnosis.model_run import try_out

            patient.found["model"] = try_out(patient.config.model)
        tried = patient.found["model"]
    finally:
        _trying.release()
    assert isinstance(tried, Tried | Verdict)
    return tried


def _number(facts: Facts, name: str) -> float | None:
    value = facts.get(name)
    return float(value) if isinstance(value, int | float) else None


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


_INSTALL_ANEW = "Install deskwatch anew; it brings card and model."

CHECKS = (
    Check(
        "model.hash",
        probe_hash,
        {
            "card-unusable": f"Look at `model.card` in unit.toml: it names a card that cannot be used. "
            f"{_INSTALL_ANEW}",
            "missing": "The model's file is not where the card says: `deskwatch model check CARD` names "
            "the folders. "
            "Put it there, or install deskwatch anew.",
            "changed": "The file is not the one that the card describes: the card may be worn, or somebody "
            "changed it. "
            f"{_INSTALL_ANEW} If it comes back, replace the SD card.",
            "another-runs": "The file or unit.toml was changed since the start: systemctl restart deskwatch",
        },
        timeout_s=15.0,
    ),
    Check(
        "model.golden",
        probe_golden,
        {
            "differs": "The model runs and does not see what it should. Install deskwatch and its "
            "interpreter anew; "
            "with a model of your own, correct `input` and `layout` of its card.",
            "no-interpreter": "Install the interpreter: pip install ai-edge-litert, or the deskwatch "
            "package, which brings it.",
            "does-not-load": "The model cannot be loaded: see model.hash. If that passes, install the "
            "interpreter anew.",
        },
        timeout_s=40.0,
    ),
    Check(
        "model.latency",
        probe_latency,
        {
            "too-slow-for-rules": "Looks take so long that rules miss what happens. Cool the unit, use a 5 "
            "V 3 A supply, "
            "stop other programs; or have the policy's `hold_s` raised.",
            "slower-than-card": "Slower than it should be: look at power.temperature and power.throttled, "
            "and at what else "
            "runs here (top).",
        },
        timeout_s=40.0,
    ),
)
