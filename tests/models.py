"""Models that more than one file of tests trains."""

from torch import nn


class Recurrent(nn.Module):
    """As many write it: cuDNN wants the weights of its layers in one piece, and this call brings them there."""

    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, inputs):
        self.cells.flatten_parameters()
        return self.head(self.cells(inputs.view(-1, 2, 2))[0][:, -1])


def plain():
    """Without dropout, whose masks differ between devices."""
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def lstm():
    """Cells that Opacus has rules for."""
    from opacus.layers import DPLSTM

    class Private(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells, self.head = DPLSTM(2, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, inputs):
            return self.head(self.cells(inputs.view(-1, 2, 2))[0][:, -1])

    return Private()
