"""Self-contained pages: ``report.html`` about a finished run, and ``audit.html`` about the audit of a table.

Read in this order::

    run_record    a finished run as typed values
    run_files     reading them from a run directory
    quantities    what a metric is, and how its values are written
    wording       numbers, intervals and missing values in words
    svg           elements of a picture, escaped
    scales        from values to places: ticks, and labels that do not overlap
    line_chart, interval_chart, client_chart, heat_map, participation_chart, calibration_chart, split_chart
    figures       a picture with its title, its sentence and its table
    beyond_rates  what is measured of groups beside rates
    learning, privacy, groups, clients    the sections of the page
    headline      the cards at the top
    findings      what the gate and the hooks say
    page          everything put together, and written
    table_audit   the same parts, of the audit of a table
"""

from fedcore.report.page.page import render, write_report

__all__ = ["render", "write_report"]
