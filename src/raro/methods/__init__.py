"""One file per method: prompts -> samples. The only floor where game, rollout and learning meet."""
