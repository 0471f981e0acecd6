"""Many runs: what to train, training it, and what comes out with intervals."""
