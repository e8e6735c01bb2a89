"""Where a run computes: device, precision, processes, random numbers."""
