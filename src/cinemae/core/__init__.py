"""The paper in reading order, tensors in and tensors out.

image, masking, (checkpoint,) backbone, lcas, anomaly_stats, features, head. Nothing here reads global random state.
"""
