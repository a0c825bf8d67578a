"""`raro study`: methods x seeds, each arm and seed a run of its own, one table of all."""
