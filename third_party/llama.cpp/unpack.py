#!/usr/bin/env python3
"""Gets the pinned llama.cpp into third_party/llama.cpp/source/; does nothing when it is there already.

The work is in build_support/source.py, where setup.py, tests and benchmarks find it too.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from build_support.errors import BuildError
from build_support.source import ensure_source

if __name__ == "__main__":
    try:
        print(ensure_source())
    except BuildError as error:
        sys.exit(f"error: {error}")
