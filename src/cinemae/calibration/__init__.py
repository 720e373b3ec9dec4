"""From logits to a calibrated verdict."""
