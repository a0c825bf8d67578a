"""RARO: learn to reason from expert demonstrations, by playing a policy against a relativistic critic (arXiv 2511.21667)."""

__version__ = "0.1.0"
