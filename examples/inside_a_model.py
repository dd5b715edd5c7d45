"""Use it inside a PyTorch model: an optimization layer between two linear ones, trained end to end.

A small network is to tell digits from 24 random projections of their pixels. Between its two linear layers stands ISTA with a dictionary of its
own: what it passes on is a sparse code of its input. Run it with ``python -m examples.inside_a_model``; the picture goes to
``inside_a_model.svg``.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

import unspool as us


class SparseCoding(nn.Module):
    """A linear layer, then the sparse code of what it gives, then a linear layer."""

    def __init__(self, inputs: int, features: int, atoms: int, classes: int) -> None:
        super().__init__()
        self.before = nn.Linear(inputs, features)
        dictionary = torch.randn(features, atoms)
        self.code = us.stdlib.sparse.ista.build(A=dictionary / dictionary.norm(dim=0), K=8)
        self.after = nn.Linear(atoms, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, [batch, classes]."""
        return self.after(self.code(self.before(x)))


def main() -> None:
    """Train, tell the accuracy."""
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    x = torch.as_tensor(pixels, dtype=torch.float32) / 16 @ (torch.randn(64, 24) / 8)
    y = torch.as_tensor(labels)
    order = torch.randperm(len(x))
    train, test = order[:1200], order[1200:]
    model = SparseCoding(24, 32, 64, 10)
    history = us.fit(model, (x[train], y[train]), nn.functional.cross_entropy, validation=(x[test], y[test]), epochs=8, batch_size=64, lr=0.02)
    with torch.no_grad():
        right = (model(x[test]).argmax(-1) == y[test]).float().mean()
    print(f"{history.epochs} epochs: {float(right):.0%} of {len(test)} new digits right")
    us.plot_curves(history).savefig("inside_a_model.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
