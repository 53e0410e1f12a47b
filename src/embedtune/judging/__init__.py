"""Is it better? Metrics, out-of-fold scores, intervals and tests, and the verdict."""
