"""Packaged configurations, one file per use."""
