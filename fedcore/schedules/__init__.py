"""Learning-rate schedules over rounds."""
