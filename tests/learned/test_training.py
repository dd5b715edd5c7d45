"""Training, weights, and the choice by them, on times that follow a known law."""

from __future__ import annotations

import json
import re
import shutil
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import unspool as us
from tests.learned.standin import FACTS, MACHINE, TEXTS, dataset, task_of, times
from unspool.compiler import options
from unspool.compiler.diagnostics import DataError
from unspool.compiler.loops.text import print_nest
from unspool.compiler.search.choose import candidates, chosen
from unspool.compiler.search.cost import estimate
from unspool.compiler.search.dataset.records import Dataset, MachineFacts, Point, Program, Writer
from unspool.compiler.search.draft import Task
from unspool.compiler.search.explore.budget import Budget
from unspool.compiler.search.explore.explore import explore
from unspool.compiler.search.learned.choice import learned_guide, model_for
from unspool.compiler.search.learned.examples import Split, examples, flat, split
from unspool.compiler.search.learned.features import TABLES
from unspool.compiler.search.learned.training import Trained, analytic, repeated, train
from unspool.compiler.search.learned.weights import read, read_header, write
from unspool.compiler.target import Machine
from unspool.dsl.cli import main

KEYS = "spearman_heldout spearman_ceiling ndcg5_heldout mape_heldout regret_heldout programs points features".split()


@cache
def data() -> Split:
    found = examples(dataset())
    return Split(found[:12], found[12:15], found[15:])  # of each text the same number everywhere


@cache
def trained() -> Trained:
    return train(data(), epochs=24, members=2, width=32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "weights.safetensors"
    write(path, trained().model, trained().header)
    return path


def test_it_learns_what_the_estimate_does_not_know() -> None:
    plain, learned = analytic(data().heldout), trained().figures
    assert learned.programs == len(data().heldout)
    assert learned.spearman > plain.spearman + 0.05
    assert learned.spearman > 0.75
    assert learned.regret < 1.1
    assert learned.mape < plain.mape
    assert trained().header["spearman_ceiling"] == pytest.approx(
        repeated([*data().training, *data().validation, *data().heldout])
    )
    assert learned.spearman <= trained().header["spearman_ceiling"] <= 1


def test_boosted_trees_are_a_baseline_on_the_same_numbers() -> None:
    pytest.importorskip("sklearn")
    from benchmarks.learned.compare import boosted

    found, plain = boosted(data()), analytic(data().heldout)
    assert found.programs == plain.programs
    assert found.spearman > plain.spearman
    assert found.mape < plain.mape


def test_counts_are_those_that_were_measured() -> None:
    text = "nest n [T]\narray A: f64[100] input\narray B: f64[T, 100] output\nS { t: 0..T, i: 0..100 } B[t, i]:f64 = A[i]:f64\norder\n"
    text += "  for t serial (S: t)\n    for i serial (S: i)\n      S\n"
    whole = Dataset({"here": MachineFacts("here", FACTS)}, {"p": Program("p", 0, "", text, {"T": 7}, "f64")})
    for schedule in ("", "vector i"):
        whole.add(Point("p", "here", schedule, text, (1.0, 1.0)))
    (example,) = examples(whole)
    trips = example.trees[0].numbers["loop"][:, TABLES["loop"].index("extent:trip")]
    np.testing.assert_allclose(sorted(2.0**trips - 1), [7, 100], rtol=1e-5)


def test_a_seed_repeats_it_and_another_does_not() -> None:
    few = Split(data().training[:2], data().validation[:1], data().heldout[:1])
    one, again, other = (train(few, epochs=1, members=1, width=8, seed=seed).model for seed in (1, 1, 2))
    trees = data().heldout[0].trees
    np.testing.assert_array_equal(one.logarithms(trees)[0], again.logarithms(trees)[0])
    assert np.abs(one.logarithms(trees)[0] - other.logarithms(trees)[0]).max() > 1e-6


def test_trees_side_by_side_say_what_each_says_alone() -> None:
    trees = [e.trees[n] for e in data().heldout[:3] for n in (0, 3)]
    together, spread = trained().model.logarithms(trees)
    alone = [float(trained().model.logarithms([tree])[0][0]) for tree in trees]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)
    assert (spread > 0).all()


def test_a_group_that_is_left_out_changes_nothing() -> None:
    few = Split(data().training[:3], data().validation[:1], data().heldout[:1])
    model = train(few, epochs=1, members=1, width=8, without=("kind", "stride")).model
    tree = data().heldout[0].trees[0]
    network = model.members[0]
    for name, kept in (("loop", False), ("loop", True)):
        columns = [n for n, c in enumerate(TABLES[name]) if (c.split(":")[0] in ("kind", "stride")) != kept]
        rows = torch.as_tensor(tree.numbers[name]).clone()
        moved = rows.clone()
        moved[:, columns] += 1.0
        same = torch.equal(network._scaled(name, rows), network._scaled(name, moved))
        assert same != kept


def test_programs_stay_on_their_side() -> None:
    found = [*data().training, *data().validation, *data().heldout]
    sides = split(found, 3)
    parts = [{e.program for e in side} for side in (sides.training, sides.validation, sides.heldout)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(found)
    fewer = split(found[:7], 3)
    assert {e.program for e in fewer.heldout} <= parts[2]
    with pytest.raises(DataError, match="too few programs: none is left as a validation program"):
        train(Split(found[:1], [], found[1:2]))


def test_what_did_not_run_is_no_example() -> None:
    whole = dataset()
    key = next(iter(whole.programs))
    few = Dataset(dict(whole.machines), dict(whole.programs))
    points = whole.by_program()[key][:4]
    for point in points[:3]:
        few.add(point)
    few.add(Point(key, "here", "parallel i", points[3].nest, status="crashed"))
    few.add(Point(key, "here", "broken", "nest with no order", (1.0, 1.0)))
    (example,) = examples(few)
    assert len(example.trees) == 3
    assert example.base == [p.schedule for p in points].index("")
    assert len(few.faults) == 1
    assert "its nest cannot be read" in few.faults[0]
    assert flat(example.trees[0]).shape == flat(example.trees[1]).shape
    few.add(MachineFacts("there", {"machine": {"cores": 2}}))
    with pytest.raises(ValueError, match="without vectors and registers"):
        examples(few)


# -- files --------------------------------------------------------------------------------------------------------


def test_weights_come_back_as_they_were(weights: Path) -> None:
    model, header = read(weights), read_header(weights)
    assert [key for key in KEYS if not isinstance(header[key], (int, float))] == []
    assert header["points"] == len(dataset().points)
    trees = data().heldout[0].trees
    for one, other in zip(model.logarithms(trees), trained().model.logarithms(trees)):
        np.testing.assert_array_equal(one, other)
    assert weights.stat().st_size < 1 << 20


def _edited(source: Path, path: Path, **header: Any) -> Path:
    save_file(load_file(source), path, {key: json.dumps(value) for key, value in {**read_header(source), **header}.items()})
    return path


def test_files_that_are_no_weights_are_one_error(weights: Path, tmp_path: Path) -> None:
    whole = weights.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    changed = {"huge.safetensors": struct.pack("<Q", 1 << 62) + whole[8:], "cut.safetensors": whole[: size + 100], "empty.safetensors": b"",
               "pickle.safetensors": b"\x80\x04\x95" + bytes(64), "text.safetensors": b"weights"}  # fmt: skip
    for name, content in changed.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} is no file of weights, or it is damaged"):
            read(tmp_path / name)
    with pytest.raises(DataError, match=r"features of version 0, and this is version \d+: train it anew"):
        read(_edited(weights, tmp_path / "old.safetensors", features=0))
    with pytest.raises(DataError, match="has no weights of a cost model"):
        read(_edited(weights, tmp_path / "other.safetensors", format="something"))
    with pytest.raises(DataError, match="names no sizes"):
        read(_edited(weights, tmp_path / "large.safetensors", width=10**9))
    with pytest.raises(DataError, match=r"weight 0\.access\.0\.weight is missing, has another shape"):
        read(_edited(weights, tmp_path / "wide.safetensors", width=33))
    tensors = load_file(weights)
    tensors["1.part.0.bias"][0] = torch.nan
    save_file(tensors, tmp_path / "nan.safetensors", {k: json.dumps(v) for k, v in read_header(weights).items()})
    with pytest.raises(DataError, match=r"weight 1\.part\.0\.bias .*is no number"):
        read(tmp_path / "nan.safetensors")
    with pytest.raises(DataError, match="cannot read"):
        read(tmp_path / "nowhere.safetensors")


# -- the choice -----------------------------------------------------------------------------------------------------


def test_the_model_alone_takes_what_it_ranks_first(weights: Path) -> None:
    task = task_of(TEXTS[0], {"m": 100, "k": 160, "n": 64})
    with options.scope(weights=weights, scheduler="learned"):
        draft = chosen(task)
    assert draft.origin.startswith("learned: ")
    law = times([d.scheduled.nest for d in candidates(task)], task)
    assert times([draft.scheduled.nest], task)[0] <= 1.1 * min(law)
    with options.scope(weights=weights, scheduler="analytic"):
        assert not chosen(task).origin.startswith("learned")
        assert chosen(task, "learned").origin.startswith("learned")


def test_by_default_it_ranks_what_the_estimate_finds_good(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(TEXTS[0], {"m": 100, "k": 160, "n": 64})
    with options.scope(weights=weights, scheduler="default"):
        plain, drafts = chosen(task, "analytic"), candidates(task)
        least = estimate(plain.scheduled, task.machine).seconds
        worst = max(drafts, key=lambda d: estimate(d.scheduled, task.machine).seconds)
        apart = estimate(worst.scheduled, task.machine).seconds / least
        # a model that has it the other way round
        said = {print_nest(d.scheduled.nest): 1 / estimate(d.scheduled, task.machine).seconds for d in drafts}
        monkeypatch.setattr(
            "unspool.compiler.search.choose.predicted", lambda _, programs, *rest, caution: [said[print_nest(p.nest)] for p in programs]
        )
        monkeypatch.setattr("unspool.compiler.search.choose.NEAR", 1.01 * apart)
        assert chosen(task).origin == f"learned: {worst.origin}, in place of {plain.origin}"
        assert chosen(task).schedule == worst.schedule
        monkeypatch.setattr("unspool.compiler.search.choose.NEAR", 1.0)
        assert (chosen(task).origin, chosen(task).schedule) == (plain.origin, plain.schedule)


def test_it_guides_a_search(weights: Path) -> None:
    task = task_of(TEXTS[0], {"m": 100, "k": 160, "n": 64})
    with options.scope(weights=weights):
        guide = learned_guide(task, "learned")
        assert guide is not None
        found = explore(task, Budget(candidates=20), guide=guide)
    assert found.seconds <= found.start
    assert found.seconds == pytest.approx(guide([found.scheduled])[0], rel=1e-4)
    assert found.seconds != pytest.approx(estimate(found.scheduled, task.machine).seconds, rel=1e-3)


def test_without_weights_the_estimate_decides(weights: Path, tmp_path: Path) -> None:
    task = task_of(TEXTS[1], {"m": 40, "n": 40})
    with options.scope(weights=tmp_path / "none.safetensors", scheduler="default"):
        assert model_for(task) is None
        with pytest.raises(DataError, match=r"the learned scheduler has no weights: there is no .*none\.safetensors"):
            chosen(task, "learned")
    with options.scope(weights=None), pytest.raises(DataError, match="UNSPOOL_WEIGHTS is off"):
        model_for(task, "learned")
    with options.scope(weights=weights, scheduler="learned"):
        assert model_for(Task(task.nest, MACHINE, tile=True)) is None
        assert model_for(Task(task.nest, Machine(**FACTS))) is model_for(task)  # read once


def test_a_kernel_tells_who_chose_and_computes_the_same(weights: Path) -> None:
    program = next(iter(us.loads(TEXTS[2])))
    A, x, y = (np.random.default_rng(n).standard_normal(shape) for n, shape in enumerate(((30, 40), 40, 30)))
    with options.scope(weights=weights):
        learned = program.compile({"m": 30, "n": 40}, dtype="f64", target="c", scheduler="learned")
        plain = program.compile({"m": 30, "n": 40}, dtype="f64", target="c", scheduler="analytic")
        assert re.search(r"^schedule.*, learned: .*, the best of \d+$", learned.explain(), re.MULTILINE)
        assert "learned" not in plain.explain()
        np.testing.assert_allclose(program(A, x, y, target="c", scheduler="learned"), A.T @ (A @ x - y), rtol=1e-10)
    with pytest.raises(DataError, match="the learned scheduler ranks schedules of targets c and numba, not triton"):
        program.compile({"m": 30, "n": 40}, target="triton", scheduler="learned")


# -- the command ----------------------------------------------------------------------------------------------------


def test_the_command_trains_writes_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, path, out = (
        Dataset(dict(dataset().machines), dict(list(dataset().programs.items())[:8])),
        tmp_path / "data.jsonl.gz",
        tmp_path / "made" / "model.safetensors",
    )
    for point in dataset().points:
        if point.program in whole.programs:
            whole.add(point)
    with Writer(path, resume=False) as file:
        file.append([*whole.machines.values(), *whole.programs.values(), *whole.points])
    with path.open("ab") as file:
        file.write(b"\x1f\x8b broken")
    known = [e for e in (*data().training, *data().validation) if e.program in whole.programs]
    seed = next(n for n in range(99) if all(vars(split(known, n)).values()))
    assert _dsl("train-model", path, "-o", out, "--epochs", "1", "--seed", seed) == 0
    said = capsys.readouterr()
    assert f"wrote {out}: {len(whole.points)} schedules of {len(whole.programs)} programs" in said.out.replace("\n", "")
    assert "Spearman" in said.out
    assert "breaks off after 0 lines" in said.err.replace("\n", " ")
    further = tmp_path / "further.safetensors"
    assert _dsl("train-model", path, "-o", further, "--epochs", "1", "--seed", seed, "--from", out) == 0
    one, two = load_file(out), load_file(further)
    assert torch.equal(one["0.scale_loop"], two["0.scale_loop"])
    assert not torch.equal(one["0.loop.0.weight"], two["0.loop.0.weight"])
    capsys.readouterr()
    shutil.copy(path, out)
    assert _dsl("train-model", path, "-o", further, "--from", out) == 1
    assert "error: " in (told := capsys.readouterr().err)
    assert "is no file of weights" in told
    assert _dsl("train-model", path, "-o", further, "--without", "colour") == 1
    assert "'colour' is no group of features; there are analytic, " in capsys.readouterr().err


def _dsl(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)
