"""Models on the Hugging Face Hub: written, pushed, and usable by transformers."""
