"""``bias.md``: an audit as Markdown, for a model card or under the headings of a particular rule.

Read in this order: ``markdown`` (cells, tables and numbers), ``analyses`` (results by group and over clients),
``sections`` (common to all documents), ``documents`` with their ``templates``.

Source of the headings: Mitchell, M. et al. (2019), "Model cards for model reporting", FAT* '19, arXiv 1810.03993.
Those that a run cannot fill (intended use, training data, ethical considerations) are left out.
"""
