"""From a data source to batches on the device."""
