"""Exports are made once: each takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # `networks_of_tests`, for the tests and for processes they start
