"""Many runs: grids of settings, seeds and folds, several at once, and systems held to each other, dialogue by dialogue."""
