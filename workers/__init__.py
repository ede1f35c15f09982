"""Everything that computes, on Ray: dispatcher, runner, training loop and meta-learner."""
