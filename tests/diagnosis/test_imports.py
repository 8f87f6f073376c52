"""A diagnosis that asks the unit loads nothing that it does not need: on a Pi that is seconds."""

import subprocess
import sys

HEAVY = "cv2", "numpy", "paho", "ai_edge_litert", "tflite_runtime"
TABLE = f"""
import sys
import edge.diagnosis.command
from edge.diagnosis.table import table
assert len(table()) > 40
assert not any(check.name.endswith(".import") for check in table())
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def test_the_whole_table_loads_neither_pictures_nor_the_model_nor_mqtt():
    done = subprocess.run([sys.executable, "-c", TABLE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
