"""On a real GPU: streams, CUDA graphs, threads, memory, ``torch.compile``, and what a launch costs."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import unspool as us
from tests.gpu.test_torch import ISTA, close, exact, matrix, measured
from unspool.compiler.diagnostics import DataError

pytestmark = pytest.mark.gpu
#: Seconds that the host may take to launch a kernel.
LAUNCH = 15e-6


def layer() -> Any:
    return ISTA.ista.build(A=matrix()).to("cuda")


def test_streams() -> None:
    """A kernel waits for what is before it in its stream, and for nothing else."""
    made, stream = layer(), torch.cuda.Stream()
    y = measured(64).to("cuda")
    with torch.no_grad():
        made(y)
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)
            late = y * 1.0
            x = made(late)
            assert not stream.query()
        other = made(y)
        torch.cuda.current_stream().synchronize()
        assert not stream.query()
        stream.synchronize()
    assert torch.equal(x, other)


def test_nothing_waits() -> None:
    """No call of torch in a forward pass, a gradient or a fused loss synchronises."""
    made, y = layer(), measured(8).to("cuda")
    truth = torch.zeros(8, 7, device="cuda")
    step = made.value_and_grad(ISTA.mse)

    def everything() -> None:
        (made(y) ** 2).sum().backward()
        step(y, truth)

    everything()
    torch.cuda.set_sync_debug_mode("error")
    try:
        everything()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_cuda_graphs(backward: bool) -> None:
    """Captured once, replayed on new data."""
    made, y = layer(), measured(8).to("cuda")

    def run() -> list[Tensor]:
        if not backward:
            with torch.no_grad():
                return [made(y)]
        return list(torch.autograd.grad((made(y) ** 2).sum(), list(made.parameters())))

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run()
    new = 2 * measured(8)
    y.copy_(new)
    graph.replay()
    want, gradients = exact(new)
    assert all(close(f, w) for f, w in zip(found, gradients if backward else [want], strict=True))


def test_checks_are_not_captured() -> None:
    """A run-time check is read; where that is impossible, it says so."""
    program = us.loads("algorithm div(a: i64[n], b: i64[n]) -> i64[n]:\n    return a // b\n")
    a, b = torch.arange(4, device="cuda"), torch.full((4,), 2, device="cuda")
    assert program.div(a, b).tolist() == [0, 0, 1, 1]
    with pytest.raises(DataError, match="integer division by zero"):
        program.div(a, b * 0)
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(DataError, match="cannot be captured in a CUDA graph"), torch.cuda.graph(graph):
        program.div(a, b)


def test_a_new_thread() -> None:
    """It has no context of the GPU yet."""
    made, y, found = layer(), measured(8).to("cuda"), []
    thread = threading.Thread(target=lambda: found.append(made(y)))
    thread.start()
    thread.join()
    assert close(found[0], exact(measured(8))[0])


def test_out_of_memory() -> None:
    """An error with sizes; nothing stays allocated, and the next call runs."""
    made = layer()
    with torch.no_grad():
        made(measured(8).to("cuda"))
    free, _ = torch.cuda.mem_get_info()
    before = torch.cuda.memory_allocated()
    count = int(0.8 * free) // 20
    y = torch.empty(count, 5, device="cuda")
    with torch.no_grad(), pytest.raises(torch.OutOfMemoryError, match=r"a result of ista needs .* on cuda:0, where .* are free"):
        made(y)
    del y
    assert torch.cuda.memory_allocated() == before
    torch.cuda.empty_cache()
    assert close(made(measured(8).to("cuda")), exact(measured(8))[0])


def test_the_memory_of_a_gradient_does_not_grow_with_the_batch() -> None:
    """Beside operands and results."""
    made, peaks = layer(), []
    for count in (20_000, 80_000):
        y = measured(1).expand(count, 5).to("cuda").contiguous()
        x = made(y)
        seed = torch.ones_like(x)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        torch.autograd.grad(x, list(made.parameters()), seed)
        peaks.append(torch.cuda.max_memory_allocated() - held)
    assert peaks[1] <= 1.5 * peaks[0] + (1 << 20)


def test_compiled_models() -> None:
    """One opaque operator inside of torch.compile, forward and backward."""
    made, y = layer(), measured(8).to("cuda")

    def loss(v: Tensor) -> Tensor:
        return (made(v * 2) ** 2).sum()

    value = torch.compile(loss, fullgraph=True)(y)
    value.backward()
    found = [p.grad for p in made.parameters()]
    want, gradients = exact(2 * measured(8))
    assert close(value, (want**2).sum())
    assert all(g is not None and close(g, w) for g, w in zip(found, gradients, strict=True))


def _host(function: Callable[[], Any]) -> float:
    """Seconds of the host for a call, the median of groups that the queue of the device holds."""
    times = []
    for _ in range(20):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(100):
            function()
        times.append((time.perf_counter() - start) / 100)
    return statistics.median(times)


def test_what_a_launch_costs(record_property: Callable[[str, object], None]) -> None:
    """The host's time to launch a kernel on tensors that are there, and to call its layer."""
    made, y = layer(), measured(8).to("cuda")
    with torch.no_grad():
        x = made(y)
        (known,) = made._known.values()
        call = known.prepared.call
        runner = call.plan.forward
        operands = made._operands(known.sources, [y])
        layout = runner.layout(call.flags, call._own, call.sizes)
        teams, blocks = runner._shares(layout, 8, y.device)
        strides, steps = layout.batch_strides, [0] * len(layout.batch_strides)
        launch = _host(lambda: runner.kernel(operands, [x], 8, strides, steps, layout.integers, teams, blocks))
        whole = _host(lambda: made(y))
    record_property("launch_us", 1e6 * launch)
    record_property("layer_call_us", 1e6 * whole)
    assert launch <= LAUNCH
