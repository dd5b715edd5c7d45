"""Learn to denoise one photograph, apply what was learned to another.

Total-variation denoising (``tv.us``) is unrolled for 20 iterations. Its step sizes tau[k] and sigma[k] and the
strength are learned on noisy crops of one photograph; then both the untrained and the trained algorithm denoise
another one at full size. Run it with ``make demo``; pictures go to ``demo-out/``.
"""

from __future__ import annotations

import argparse
import math
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_sample_image
from torch import Tensor

import unspool as us
from benchmarks.peers import torch_compiled
from benchmarks.peers import torch_eager as eager
from unspool.dsl.timing import caution, interleaved, machine

HERE = Path(__file__).parent
NOISE = 0.1  # standard deviation; the photographs are in 0..1
ITERATIONS = 20
CROP, CROPS = 96, 4


def photograph(name: str) -> Tensor:
    """One of scikit-learn's photographs, channels first, in 0..1."""
    return torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1).float().div(255).contiguous()


def add_noise(image: Tensor, seed: int) -> Tensor:
    return image + NOISE * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


def psnr(got: Tensor, clean: Tensor) -> float:
    """Peak signal-to-noise ratio in dB."""
    return -10 * math.log10(torch.mean((got - clean) ** 2).item())


class Crops:
    """Random noisy crops of one photograph, the same ones in every run."""

    def __init__(self, clean: Tensor, seed: int) -> None:
        self.clean = clean
        self.random = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """(noisy, clean), each [count, 3, CROP, CROP]."""
        corners = [
            [int(torch.randint(size - CROP + 1, (), generator=self.random)) for size in self.clean.shape[1:]]
            for _ in range(count)
        ]
        clean = torch.stack([self.clean[:, i : i + CROP, j : j + CROP] for i, j in corners])
        return clean + NOISE * torch.randn(clean.shape, generator=self.random), clean


def best_strength(layer: torch.nn.Module, crops: Crops) -> float:
    """The strength that suits the untrained algorithm best: the baseline is tuned, too."""
    noisy, clean = crops.draw(16)
    with torch.no_grad():
        return max(np.geomspace(0.02, 0.5, 25).tolist(), key=lambda s: psnr(layer(noisy, torch.tensor(s)), clean))


def train(layer: torch.nn.Module, log_strength: torch.nn.Parameter, crops: Crops, steps: int, progress: Progress) -> None:
    """Adam on tau, sigma and the logarithm of the strength (so it stays positive)."""
    optimizer = torch.optim.Adam([*layer.parameters(), log_strength], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    task = progress.add_task("learning", total=steps)
    for _ in range(steps):
        noisy, clean = crops.draw(CROPS)
        optimizer.zero_grad()
        loss = torch.mean((layer(noisy, log_strength.exp()) - clean) ** 2)
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.update(task, advance=1, description=f"learning: {-10 * math.log10(loss.item()):.1f} dB")
    progress.update(task, description="learning")


def timings(
    layer: torch.nn.Module, image: Tensor, clean: Tensor, strength: Tensor, progress: Progress
) -> dict[str, dict[str, float]]:
    """Our kernels against torch on the full photograph, the same computation, in seconds."""
    tau, sigma = (getattr(layer, name).detach().clone().requires_grad_() for name in ("tau", "sigma"))
    strength = strength.detach().clone().requires_grad_()
    constants = strength.item(), tau.tolist(), sigma.tolist()

    def gradient(run: Callable[[], Tensor], wanted: list[Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(torch.mean((run() - clean) ** 2), wanted)

    task = progress.add_task("timing", total=2 * 9)
    advance = partial(progress.advance, task)
    with torch.no_grad():
        forward: dict[str, Callable[[], Tensor]] = {
            "unspool": lambda: layer(image, strength),
            "torch eager": lambda: eager.tv(image, strength, tau, sigma),
            "torch eager, in place": lambda: eager.tv_in_place(image, *constants),
        }
        if shutil.which("g++"):
            compiled = torch_compiled.by_step("tv")
            forward["torch.compile, one iteration"] = lambda: compiled(image, strength, tau, sigma)
        expected = forward["torch eager"]()
        for name, run in forward.items():
            error = ((run() - expected).abs().max() / expected.abs().max()).item()
            assert error < 1e-4, f"{name} computes something else: relative error {error:.1e}"
        first = interleaved(forward, rounds=9, seconds=12, on_round=advance)
    both = interleaved(
        {
            "unspool": gradient(lambda: layer(image, strength), [*layer.parameters(), strength]),
            "torch eager": gradient(lambda: eager.tv(image, strength, tau, sigma), [tau, sigma, strength]),
        },
        rounds=9,
        seconds=12,
        on_round=advance,
    )
    progress.update(task, completed=2 * 9)
    return {name: {"forward": t.median, **({"both": both[name].median} if name in both else {})} for name, t in first.items()}


def save(image: Tensor, path: Path) -> None:
    pixels = image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path, optimize=True)


def plot_parameters(before: dict[str, Tensor], after: dict[str, Tensor], path: Path) -> None:
    """Each learned parameter over the iterations, against where it started."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(after), figsize=(9, 3), layout="constrained")
    for axis, (name, values) in zip(axes, after.items()):
        axis.plot(before[name], color="0.6", linestyle="--", label="before training")
        axis.plot(values, color="C0", marker="o", markersize=3, label="learned")
        axis.set(title=f"{name}[k]", xlabel="iteration k", yscale="log")
        axis.set_xticks(range(0, len(values), 5))
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def strip(images: dict[str, Tensor], clean: Tensor, path: Path) -> None:
    """A detail of each picture side by side: the picture in the README."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(images), figsize=(9.6, 2.62), layout="constrained")
    for axis, (name, image) in zip(axes, images.items()):
        detail = image[:, 110:270, 180:340].clamp(0, 1).permute(1, 2, 0)
        quality = f", {psnr(image, clean):.1f} dB" if image is not clean else ""
        axis.imshow(detail)
        axis.set_title(f"{name}{quality}", fontsize=10)
        axis.axis("off")
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 88, "optimize": True})
    plt.close(figure)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=300, help="training steps (300)")
    arguments.add_argument("--out", type=Path, default=HERE.parent / "demo-out", help="where the pictures go")
    arguments.add_argument("--readme-picture", type=Path, help="write the README's picture there, too")
    chosen = arguments.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    console, facts = Console(), machine()

    teacher, clean = photograph("china.jpg"), photograph("flower.jpg")
    noisy = add_noise(clean, seed=1)
    layer = us.load(HERE / "tv.us").tv.build(K=ITERATIONS)
    names = ("tau", "sigma")
    before = {name: getattr(layer, name).detach().clone() for name in names}

    start = time.perf_counter()
    strength = best_strength(layer, Crops(teacher, seed=2))
    with torch.no_grad():
        untrained = layer(noisy, torch.tensor(strength))
    log_strength = torch.nn.Parameter(torch.tensor(math.log(strength)))

    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        train(layer, log_strength, Crops(teacher, seed=3), chosen.steps, progress)
        learning = time.perf_counter() - start
        with torch.no_grad():
            trained = layer(noisy, log_strength.exp())
        after = {name: getattr(layer, name).detach().clone() for name in names}
        times = timings(layer, noisy, clean, log_strength.exp(), progress)

    results = Table(title=f"A photograph it has not seen, noise {NOISE}")
    results.add_column("")
    results.add_column("PSNR", justify="right")
    results.add_column("strength", justify="right")
    results.add_row("noisy", f"{psnr(noisy, clean):.2f} dB", "")
    results.add_row("untrained, best strength", f"{psnr(untrained, clean):.2f} dB", f"{strength:.3f}")
    results.add_row("trained", f"{psnr(trained, clean):.2f} dB", f"{log_strength.exp().item():.3f}")
    console.print(results)

    speed = Table(
        title=f"{ITERATIONS} iterations at 3 x {clean.shape[1]} x {clean.shape[2]}, float32: milliseconds, interleaved medians",
        caption=f"{facts['processor']}, {facts['threads']} threads, torch {facts['torch']}",
    )
    speed.add_column("")
    for heading in ("forward", "", "forward + backward", ""):
        speed.add_column(heading, justify="right")
    ours = times["unspool"]
    for name, row in times.items():
        cells = []
        for mode in ("forward", "both"):
            cells += [f"{1e3 * row[mode]:.1f}", f"{row[mode] / ours[mode]:.1f}x"] if mode in row else ["", ""]
        speed.add_row(name, *cells)
    console.print(speed)
    if warning := caution(facts):
        console.print(warning, style="yellow")
    if "torch.compile, one iteration" not in times:
        console.print("torch.compile is left out: it needs a C++ compiler (g++), and there is none here.")

    save(noisy, chosen.out / "before.png")
    save(trained, chosen.out / "after.png")
    save(untrained, chosen.out / "untrained.png")
    save(clean, chosen.out / "clean.png")
    plot_parameters(before, after, chosen.out / "parameters.png")
    pictures = {"noisy": noisy, "untrained": untrained, "trained": trained, "original": clean}
    if chosen.readme_picture:
        strip(pictures, clean, chosen.readme_picture)
    console.print(f"Compiling and learning took {learning:.0f} s. Pictures: before.png, after.png, parameters.png in")
    console.print(f"{chosen.out}/", soft_wrap=True)


if __name__ == "__main__":
    main()
