"""How good: fits, parts of the method by themselves, autoencoders; and the tables of all results."""
