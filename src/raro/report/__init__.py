"""What a person reads of a run, made only from the files in its folder."""
