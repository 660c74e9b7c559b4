"""The bias audit: from additive counts to rates, gaps and a verdict.

Read in this order::

    tables      what a client counts: group x label x score bin, closed under ``+``
    statistics  confidence intervals of rates, differences and ratios
    metrics     rates by group, gaps and everything else that is measured; ``catalogue`` has a row for each
    sites       a gap split over the clients
    verdict     limits, the gate, small cells, and the content of ``bias.json``
    table       the audit of any table of decisions, without a federation
"""
