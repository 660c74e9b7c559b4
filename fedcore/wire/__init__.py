"""fedcore's messages as Flower records, in signed envelopes."""
