"""What scores say beyond accuracy: pure functions and their plots."""
