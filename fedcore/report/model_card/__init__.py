"""``bias.md``: the audit of a run as Markdown, for a model card.

Read in this order: ``markdown`` (cells, tables and numbers), ``analyses`` (results by group and over clients),
``sections`` (common to all documents), ``frameworks`` (headings of particular rules, with date and source), ``card``.

Source of the headings: Mitchell, M. et al. (2019), "Model cards for model reporting", FAT* '19, arXiv 1810.03993.
Those that a run cannot fill (intended use, training data, ethical considerations) are left out.
"""

from fedcore.report.model_card.card import model_card

__all__ = ["model_card"]
