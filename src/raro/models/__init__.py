"""Packaged models, and the script that makes the miniature one."""
