"""Tests: they mirror the packages; integration/ runs real clusters, databases and browsers."""
