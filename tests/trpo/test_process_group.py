"""What several processes reduce is what one process has of all their samples, in the same bits."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.groups import in_group
from trpo.process_group import ProcessReducer
from trpo.reducer import SERIAL, Totals

SIZE = 3
SAMPLES = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PARTS = SAMPLES.split([7, 30, 3])


def reduced() -> dict[str, Any]:
    reducer, part = ProcessReducer(2), PARTS[dist.get_rank()]
    one, other = reducer.halves()
    totals = Totals(len(part), (part.sum(0), part.float().sum()))
    both = reducer.side_by_side(lambda: one.combine(totals), lambda: other.combine(totals))
    largest = Totals(len(part), (part.sum(0),), (part.amax(0),))
    places = torch.arange(reducer.rank, 7, SIZE)  # dealt out, one after the other
    rows = torch.tensor([[-0.0, 1.5, torch.nan]]).repeat(7, 1) * torch.arange(7)[:, None]
    results = {
        "sums": reducer.combine(totals),
        "both": both,
        "count": reducer.combine(Totals(2**31 + 1)).count,
        "maxima": reducer.combine(largest),
        "moments": reducer.moments(part),
        "moments of some": reducer.moments(part if reducer.rank else part[:0]),
        "constant": reducer.moments(torch.full_like(part, 0.5)),
        "means": reducer.pool_means([part.mean(0), part[:, 0].mean()], len(part)),
        "gathered": reducer.gather(part[0]),
        "rows": reducer.assemble(rows[places], places, 7),
        "flags": reducer.assemble(rows[places, 0] == 0, places, 7),
        "nothing": reducer.assemble(rows[:0], places[:0], 0),
    }
    reducer.close()
    return results


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))
    if isinstance(one, Totals):
        return same((one.count, one.sums, one.maxima), (other.count, other.sums, other.maxima))
    if isinstance(one, tuple | list):
        return all(map(same, one, other))
    return one == other


def test_what_processes_reduce_is_what_one_has_of_all_samples(tmp_path: Path):
    first, *others = in_group(tmp_path / "group", SIZE, reduced)
    assert all(same(first[name], other[name]) for other in others for name in first)

    assert first["sums"].count == first["maxima"].count == len(SAMPLES)
    assert [total.dtype for total in first["sums"].sums] == [torch.float64, torch.float32]
    for totals in (first["sums"], *first["both"], first["maxima"]):
        assert torch.allclose(totals.means[0], SAMPLES.mean(0), rtol=1e-13)
    assert torch.equal(first["maxima"].maxima[0], SAMPLES.amax(0))
    assert first["count"] == SIZE * (2**31 + 1)

    for name, samples in (("moments", SAMPLES), ("moments of some", torch.cat(PARTS[1:]))):
        count, mean, variance = SERIAL.moments(samples)
        assert first[name][0] == count
        assert torch.allclose(first[name][1], mean, rtol=1e-13)
        assert torch.allclose(first[name][2], variance, rtol=1e-13)
    assert not first["constant"][2].any()  # exactly: what does not vary is not divided by
    assert torch.allclose(first["means"][1], SAMPLES[:, 0].mean(), rtol=1e-13)

    assert torch.equal(first["gathered"], torch.stack([part[0] for part in PARTS]))
    rows = torch.tensor([[-0.0, 1.5, torch.nan]]).repeat(7, 1) * torch.arange(7)[:, None]
    assert torch.equal(first["rows"].view(torch.uint8), rows.view(torch.uint8))  # −0 and NaN, too
    assert first["flags"].all()
    assert first["nothing"].shape == (0, 3)
