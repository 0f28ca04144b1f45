"""Validation rules that the inputs of sets and of restores share. Pure."""
