"""The paper's tables and figures, run on the images at hand."""
