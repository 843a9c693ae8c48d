"""The optimization of Gaussians: the loop, its steps, and what comes, goes and moves on the way."""
