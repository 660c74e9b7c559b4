"""One file a metric that is no rate: its estimate for each group, with an interval."""
