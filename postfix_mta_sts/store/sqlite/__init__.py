"""Policies in a SQLite file."""
