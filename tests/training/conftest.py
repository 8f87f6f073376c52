"""Puts the training pipeline on the path: it is no package of the firmware's."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "models" / "training"))
