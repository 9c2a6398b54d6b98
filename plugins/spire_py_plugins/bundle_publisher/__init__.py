"""BundlePublisher plugins."""
