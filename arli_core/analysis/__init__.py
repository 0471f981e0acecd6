"""A trained run, or any network, looked at: masks, answers, one iteration again, attribution."""
