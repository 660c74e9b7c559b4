"""Self-contained pages: ``report.html`` about a finished run, and ``audit.html`` about the audit of a table.

Read in this order::

    run_record    a finished run as typed values, read from its directory
    wording       how a metric's values, intervals and missing values are written
    beyond_rates  metrics of groups other than rates
    learning, privacy, groups, clients    the sections of the page
    headline      the cards at the top
    findings      results of the gate and the hooks
    page          the whole page, and writing it
    table_audit   the same parts, for the audit of a table
"""

from fedcore.report.page.page import render, write_report

__all__ = ["render", "write_report"]
