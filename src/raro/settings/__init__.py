"""The sections of a run's configuration (`raro.config.Config`): each setting with its meaning, bounds and source of default.

P: the paper as far as known, its confidence in docs/method.md. M: measured. O: our choice. Class defaults are for a pretrained
LLM.
"""
