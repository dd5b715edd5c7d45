"""Clean noisy labels: find out which of a thousand labels are wrong, with the help of two hundred that are right.

Every sample has a weight; the weights descend on the loss of a classifier on the clean samples, through its fit to the weighted ones. Run it with
``python -m examples.clean_noisy_labels``; the picture goes to ``clean_noisy_labels.svg``.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import unspool as us


def main() -> None:
    """Make two labels in five wrong, weigh the samples, and look at those that the weights suspect."""
    x, digits = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    order = random.permutation(len(x))
    x, digits = (x[order] / 16).astype(np.float32), digits[order]
    noisy, clean, test = slice(1000), slice(1000, 1200), slice(1200, None)
    wrong = random.random(1000) < 0.4
    told = np.where(wrong, (digits[noisy] + random.integers(1, 10, 1000)) % 10, digits[noisy])
    T, Tv = (np.eye(10, dtype=np.float32)[y] for y in (told, digits[clean]))

    start = np.zeros(1000, np.float32)
    s, W = us.stdlib.bilevel.hyperclean(x[noisy], T, x[clean], Tv, start, K=60, J=60, eta=1.0)
    weight = 1 / (1 + np.exp(-s))

    suspects = weight < 0.5
    print(f"{suspects.sum()} of 1000 labels are suspected; {(suspects & wrong).sum()} of {wrong.sum()} wrong ones are among them")
    print(f"mean weight: {weight[~wrong].mean():.2f} where the label is right, {weight[wrong].mean():.2f} where it is wrong")
    print(f"{100 * ((x[test] @ W).argmax(1) == digits[test]).mean():.1f}% of {len(x[test])} new digits right")

    figure = Figure(figsize=(7, 1.6), layout="constrained")
    for place, i in enumerate(np.argsort(weight)[:6]):
        axes = figure.add_subplot(1, 6, place + 1)
        axes.imshow(x[i].reshape(8, 8), cmap="gray_r")
        axes.set_title(f"told {told[i]}, is {digits[i]}", fontsize=8)
        axes.set_axis_off()
    figure.savefig("clean_noisy_labels.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
