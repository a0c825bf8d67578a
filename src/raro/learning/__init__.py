"""Learning from weighted samples. It knows no role and no critic: only streams, and a loss that is a seam."""
