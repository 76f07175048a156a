"""How the tables that counting tools print are read."""

from torch import nn

from vitlib.counting import tools


class Attending(nn.Module):
    """A network with a module that has two outputs."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0])


def test_no_row_of_torchsummarys_table_is_dropped():
    rows, total = tools.summary(Attending(), (5, 8))
    assert [(row.type, row.output_shape, row.parameters) for row in rows] == [
        ("MultiheadAttention", (-1, 5, 8), 0),  # torchsummary counts weight and bias, which this module calls otherwise
        ("Linear", (-1, 5, 3), 8 * 3 + 3),
    ]
    assert total == sum(row.parameters for row in rows)
