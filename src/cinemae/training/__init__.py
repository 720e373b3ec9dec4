"""From feature stores to a model."""
