"""Tests across processes: real Ray, real databases, the embedded service as a user runs it."""
