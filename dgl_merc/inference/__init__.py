"""Finished runs at work: new conversations in, emotions out; whole files, or utterances as they come."""
