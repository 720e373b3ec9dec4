"""What lies on disk: data sets, corruptions, the feature store, model directories."""
