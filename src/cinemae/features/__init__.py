"""The frozen half over many images."""
