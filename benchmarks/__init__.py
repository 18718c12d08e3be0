"""Benchmarks: each prints ratios against named peers, measured in one run."""
