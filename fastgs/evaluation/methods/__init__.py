"""Methods on images with given numbers of Gaussians and budgets: records, tables and figures."""
