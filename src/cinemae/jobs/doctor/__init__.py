"""The doctor of data sets: what is wrong with the files themselves, before anything is trained or measured on them."""
