"""Whether the program runs in a user's unit test: `pulumi.runtime.set_mocks` is in force, and there is no engine.

https://www.pulumi.com/docs/iac/guides/testing/unit/
"""

from __future__ import annotations

from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.settings import get_monitor


def is_mocked() -> bool:
    """Tell whether a mock stands where the engine would be."""
    return isinstance(get_monitor(), MockMonitor)
