"""Does at import, at listing, or at loading what the environment says. Read by a test as the module of an installed plugin too."""

import os
import subprocess
import sys
import threading
import time

from attrs import frozen

from forestgaps_core import hookimpl

HOW = os.environ.get("MISBEHAVE", "")


class Odd(BaseException):
    pass


def misbehave(how):
    if how == "raises":
        raise ValueError("broken on purpose")
    if how == "slow":
        time.sleep(2)
    if how == "endless":
        while True:
            time.sleep(1)
    if how == "prints":
        print("printed by Python")
        os.write(1, b"printed below Python\n")
        subprocess.run([sys.executable, "-c", "print('printed by a child')"], check=True)
    if how == "closes_descriptors":
        os.close(1)
        os.close(2)
    if how == "closes_stderr":
        sys.stderr.close()
    if how == "closes_stdout":
        sys.stdout.close()
    if how == "closes_own_stdout":
        sys.__stdout__.close()
    if how == "detaches_stdout":
        sys.__stdout__.detach()
    if how == "exits":
        sys.exit(0)
    if how == "interrupts":
        raise KeyboardInterrupt
    if how == "odd":
        raise Odd("neither error nor exit")
    if how == "moves":
        os.chdir("/")
    if how == "thread":
        threading.Thread(target=time.sleep, args=(600,), name="endless").start()
    if how == "quiet_thread":
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


misbehave(HOW)


@frozen(kw_only=True)
class Good:
    """A loss."""

    def build(self):
        return lambda logits, batch: logits.mean()


@hookimpl
def forestgaps_losses():
    misbehave(os.environ.get("MISBEHAVE_WHEN_LISTED", ""))
    return {"misbehaving": Good}
