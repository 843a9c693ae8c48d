"""How good images are at how many bits: codecs and their rivals at given rates, and the Bjontegaard difference."""
