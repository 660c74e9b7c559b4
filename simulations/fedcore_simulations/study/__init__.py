"""A researcher's study: a grid of runs, and runs side by side.

Read in this order::

    grid        what varies, and the plan of each run
    directory   the sweep's own directory: sweep.json and the runs
    job         one run, in a process of its own
    crew        the processes, and what they report
    display     what is shown while they run
    trials      what choosing among the runs costs in privacy
    sweep       from a grid to finished runs
    compare     finished runs side by side
"""
