"""The evaluation workbench: detectors measured side by side, on the same pictures and by the same rules."""
