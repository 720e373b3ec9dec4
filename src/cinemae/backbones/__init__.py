"""To pretrain and to fine-tune an encoder."""
