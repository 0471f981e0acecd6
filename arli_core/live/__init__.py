"""Runs that train with a record while others look on."""
