"""What is measured, and with which certainty."""
