"""What training does about a gap that the audit has measured.

Everything here is a function of sums that the audit has anyway: a mitigation asks the clients nothing more. It steers
a round in one of two ways, by what a row's loss is multiplied (`RowWeights`), or by how much a client counts.
"""
