"""``bias.md``: the audit of a run as Markdown, to be pasted into a model card.

Read in this order::

    markdown    cells, tables and numbers
    analyses    what was found, by group and over clients
    sections    what every document about an audit says
    frameworks  the headings of particular rules, with date and source
    card        everything put together

Source of the headings: Mitchell, M. et al. (2019), "Model cards for model reporting", FAT* '19, arXiv 1810.03993. Those
that a run knows nothing of (intended use, training data, ethical considerations) are not in it.
"""

from fedcore.report.model_card.card import model_card

__all__ = ["model_card"]
