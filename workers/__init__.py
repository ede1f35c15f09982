"""Everything that computes, on Ray: the dispatcher, the runner of one attempt, the training loop, the meta-learner."""
