"""Lets the benchmarks import what they share, as they do where they are run as scripts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
