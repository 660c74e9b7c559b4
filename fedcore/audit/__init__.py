"""The bias audit: from additive counts to rates, gaps and a verdict.

Read in this order::

<<<<<<< HEAD
    counting     rows that stand for several
    groups       what a client counts: group x label x score bin, closed under ``+``
    error_sums   products of target and error, and which sums of them some rows have
    values       what a client sums of targets that are numbers
    crossing     two attributes as one: "sex*race"
    intervals    how sure a rate, a difference and a ratio of rates are
    rates        rates by group, with their intervals
    mean_rates   how sure the mean of several rates is
    gaps         the distance between the best and the worst served group
    parity       gaps under their usual names, and impact ratios
    estimates    quantities that are no rates, and gaps between them
    resampling   the bootstrap on counts
    scores       scores by group and label
    auc          how well scores rank, within a group and across two
    calibration  whether scores may be taken for probabilities
    entropy      how unequally benefits fall on people
    score_shift  how far apart the scores of two groups lie
    sample       how sure the mean of a bounded quantity is
    regression   how far predicted numbers are off
    unknowns     what rows of unknown group could hide
    sites        a gap split over sites, exactly
    profiles     what particular rules ask for
    limits       what no gap, or no group, may have more or less of
    settings     what the plan declares before the run: threshold, confidence, references
    measurable   limits on what can never be measured, refused
    suppression  which small groups are kept out of what is shown
    attribute_audit  what is found out about one attribute
    fairness     one table in, one ``AttributeAudit`` out
    classes      of several labels each against the others
    measures     all that is no rate, for one attribute
    shown        what may be shown of one attribute, as JSON
    site_splits  every gap split over sites, and what may be told of it
    client_intervals  how sure figures over clients are
    clients      how evenly clients are served
    power        the smallest gap that so many rows could show
    gate         limits against audits: PASS, FAIL or INCONCLUSIVE
    hooks        the points of a run where an audit may object
    testing      the tests that every hook must pass
    report       the content of ``bias.json``
    tables       the tables that a plan declares, and the codes to fill them with

A module imports only from those above it.
=======
    tables      what a client counts: group x label x score bin, closed under ``+``
    statistics  confidence intervals of rates, differences and ratios
    metrics     rates by group, gaps and everything else that is measured
    sites       a gap split over the clients
    verdict     limits, the gate, small cells, and the content of ``bias.json``
    table       the audit of any table of decisions, without a federation
>>>>>>> 51cb72f (rooms: hold who may import whom with import-linter, and drop the rule that asks for filler docstrings)
"""
