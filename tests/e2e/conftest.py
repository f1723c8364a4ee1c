"""Fixtures that several files use."""
from homes import home, model  # noqa: F401
