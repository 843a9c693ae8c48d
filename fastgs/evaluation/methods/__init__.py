"""Methods x photos x numbers of Gaussians x budgets."""
