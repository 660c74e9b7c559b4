"""Group metrics, computed from tables of counts."""
