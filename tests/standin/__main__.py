"""The plugin's process: `python tests/standin`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from standin.server import serve

serve()
