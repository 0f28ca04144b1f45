"""The embedded EC2, and the demo on it."""
