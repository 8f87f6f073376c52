"""A process that dies before the nth change that it makes to a file, for each n in turn."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

CHANGES = {"os.rename", "os.symlink", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "open"}


def cut_at(step: int, action: Callable[[], object]) -> bool:
    """Do it in a process that dies before its `step`th change of a file; return whether it came to its end.

    What a process wrote outlives it; that it would outlive a power cut too is fsync's part, in `_write`.
    """
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event, arguments):
            nonlocal seen
            if event not in CHANGES or (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                return
            seen += 1
            if seen == step:
                os._exit(9)

        code = 1
        try:
            sys.addaudithook(hook)
            action()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 0


def at_every_step(
    folder: Path, begin: Path, action: Callable[[], object], check: Callable[[], object]
) -> int:
    """Cut at each step in turn, from the same beginning; return how many steps there were."""
    step, done = 0, False
    while not done:
        step += 1
        shutil.rmtree(folder, ignore_errors=True)
        if begin.exists():
            shutil.copytree(begin, folder, symlinks=True)
        done = cut_at(step, action)
        check()
    assert step > 5, "the cuts did not cut"
    return step - 1
