"""Contract tests of the plug-in points, for authors to subclass."""
