"""In the place of pip for the engine's runs in tests; see `__main__`."""
