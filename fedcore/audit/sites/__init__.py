"""A gap split over the clients."""
