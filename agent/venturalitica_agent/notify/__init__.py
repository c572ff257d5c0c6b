"""Tells people what happened, beside the tracker: through Apprise, from an outbox that nothing waits for."""
