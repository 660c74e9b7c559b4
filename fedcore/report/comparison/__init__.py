"""Several finished runs side by side: one table, CSV, and one page with overlaid curves.

Read in this order::

    settings          what a run was asked to do, from its plan, and which of that differs between runs
    figures           the numbers of one run
    configurations    runs that differ in the seed alone, with mean and interval
    table             the table as text and as CSV
    curves            the pictures
    page              the whole page
"""
