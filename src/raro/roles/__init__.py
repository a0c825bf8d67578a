"""The two roles: what each is asked, and how what it wrote is read."""
