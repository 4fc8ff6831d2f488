"""Models that are made here: the converter as a job."""
