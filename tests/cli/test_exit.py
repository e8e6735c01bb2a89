from __future__ import annotations

import subprocess
import sys

# A loader process inherits the handler of SIGTERM of a training, which only notes that the training is to stop.
STUBBORN = """
import multiprocessing, signal, time
from forestgaps_core.cli.exit import exit_process

def work(ready):
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    ready.set()
    while True:
        time.sleep(1)

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    context.Process(target=work, args=(ready,), daemon=True).start()
    ready.wait()
    exit_process(3)
"""


def test_a_loader_process_that_does_not_heed_sigterm_does_not_keep_the_command(tmp_path):
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    with subprocess.Popen([sys.executable, str(tmp_path / "stubborn.py")]) as process:
        try:
            status = process.wait(timeout=60)
        finally:
            process.kill()
    assert status == 3
