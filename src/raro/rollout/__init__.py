"""Writing: the Engine seam and its engines, and scoring what was written."""
