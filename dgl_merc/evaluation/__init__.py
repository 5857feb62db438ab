"""What predictions are worth: metrics, where they hold and where not, and statistics over dialogues and seeds."""
