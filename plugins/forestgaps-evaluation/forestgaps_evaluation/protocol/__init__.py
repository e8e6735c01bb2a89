"""The evaluation protocol: scores with baselines, strata, seeds, confidence intervals and leakage."""
