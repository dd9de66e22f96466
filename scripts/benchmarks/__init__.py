"""The benchmarks behind the published numbers."""
