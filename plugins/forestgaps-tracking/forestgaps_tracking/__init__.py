"""What the trackers of forestgaps share: a base class for trackers, scalars, pictures, curves, hyperparameters, run ids."""
