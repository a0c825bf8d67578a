"""What is measured of a training that runs, and never learnt from."""
