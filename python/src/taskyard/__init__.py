"""Taskyard."""
