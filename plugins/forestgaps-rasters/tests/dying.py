from __future__ import annotations

import os
import signal
from pathlib import Path


class DiesOnce:
    """Ends its process, as if it were killed for memory, the first time it meets the item 5."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, item: int) -> int:
        if item == 5 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 3 * item
