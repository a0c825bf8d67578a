"""Packaged demonstrations."""
