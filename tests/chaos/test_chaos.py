"""A short run of scripts/chaos: every fault once, and a SIGKILL about every second."""

import os
import random

import pytest

from tests.broker import PROGRAM
from tests.chaos.__main__ import report
from tests.chaos.faults import FAULTS, possible
from tests.chaos.rig import KILL, Rig


@pytest.mark.timeout(240)
@pytest.mark.skipif(PROGRAM is None and not os.environ.get("CI"), reason="no mosquitto here")
def test_every_event_arrives_once_or_stands_in_a_gap(tmp_path, capsys):
    chance = random.Random(7)
    rig = Rig(tmp_path, chance, kills_per_s=1.0, haste=0.3)
    try:
        for fault in chance.sample(possible(rig), len(possible(rig))):
            with rig.fault(fault.name):
                fault.act(rig, chance)
        rig.drain(90.0)
        rig.stop_unit()
        table, good = report(rig)
        verdict, fed = rig.verdict()
    finally:
        rig.close()
    with capsys.disabled():
        print(f"\n{table}")
    assert good, table
    assert len(fed) > 100
    done = rig.times()
    assert done[KILL] >= 5
    assert all(done[fault.name] == 1 for fault in possible(rig))
    assert verdict.redelivered  # else nothing was ever torn
    if rig.disk is None:
        pytest.skip(f"done without {', '.join(f.name for f in FAULTS if f.needs_disk)}: {rig.no_disk}")
