import math

import pytest

from audiosep_jax.aot.chips import CHIPS, chip_named, slice_shape
from audiosep_jax.aot.hlo import Collective, HloArray
from audiosep_jax.aot.roofline import SIZES, Demand, collective_seconds, ports_and_hops, roofline, scaling
from audiosep_jax.errors import AudioSepError

V5E = CHIPS["v5e"]


def reduction(size, *, asynchronous=False, kind="all-reduce", group=0, times=1):
    array = HloArray(type="f32", shape=(size // 4,))
    return Collective(kind=kind, arrays=(array,), group=group, asynchronous=asynchronous, times=times)


def demand(**changes):
    given = {"examples": 24, "flops": 24e12, "hbm_bytes": 240e9}
    return Demand(**(given | changes))


def test_every_chip_has_plausible_rates():
    assert list(CHIPS) == ["v4", "v5e", "v5p", "v6e", "tpu7x"]
    for name, chip in CHIPS.items():
        assert chip.name == name
        assert chip.source.startswith("https://docs.cloud.google.com/tpu/docs/")
        # What a pod's chips send together is the all-reduce bandwidth that the documentation states.
        assert 2 * chip.dimensions * chip.link_bandwidth == pytest.approx(chip.ici_bandwidth / 2)
    assert V5E.hbm_bytes == 15.75 * 1024**3
    assert 256 * V5E.ici_bandwidth / 2 == pytest.approx(51.2e12)
    assert 256 * CHIPS["v6e"].ici_bandwidth / 2 == pytest.approx(102.4e12)
    assert 4096 * CHIPS["v4"].ici_bandwidth / 2 == pytest.approx(1.1e15, rel=0.01)


def test_other_names_of_chips():
    assert chip_named("Trillium") is CHIPS["v6e"]
    assert chip_named("v5litepod") is V5E
    with pytest.raises(AudioSepError, match=r"no TPU 'v9' in the table: choose one of v4, v5e"):
        chip_named("v9")


def test_slices_have_the_usual_shapes():
    flat = [slice_shape(V5E, chips) for chips in SIZES]
    assert flat == [(2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)]
    cubes = [slice_shape(CHIPS["v5p"], chips) for chips in SIZES]
    assert cubes == [(2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4), (4, 4, 4), (4, 4, 8), (4, 8, 8)]
    assert all(math.prod(shape) == chips for shape, chips in zip(flat, SIZES, strict=True))


def test_long_sides_are_rings():
    assert ports_and_hops(V5E, (2, 2)) == (2, 2)
    assert ports_and_hops(V5E, (4, 8)) == (2, 10)
    assert ports_and_hops(V5E, (8, 16)) == (3, 15)
    assert ports_and_hops(V5E, (16, 16)) == (4, 16)
    assert ports_and_hops(CHIPS["v5p"], (4, 4, 8)) == (6, 8)
    assert ports_and_hops(V5E, (1, 1)) == (0, 0)


def test_large_reductions_take_bandwidth_and_small_ones_hops():
    size = 100_000_000
    assert collective_seconds(reduction(size), V5E, (16, 16)) == pytest.approx(2 * size * 255 / 256 / 200e9)
    assert collective_seconds(reduction(size), V5E, (2, 2)) == pytest.approx(2 * size * 3 / 4 / 100e9)
    gather = reduction(size, kind="all-gather")
    assert collective_seconds(gather, V5E, (2, 2)) == pytest.approx(size * 3 / 4 / 100e9)
    half = reduction(size, group=2)
    assert collective_seconds(half, V5E, (2, 2)) == pytest.approx(2 * size / 2 / 100e9)
    assert collective_seconds(reduction(128), V5E, (16, 16)) == pytest.approx(32e-6)
    assert collective_seconds(reduction(128), V5E, (1, 1)) == 0


def test_the_longest_part_binds():
    slow = roofline(demand(), V5E, (2, 2))
    assert slow.hbm_seconds == pytest.approx(240e9 / 819e9)
    assert slow.compute_seconds == pytest.approx(24e12 / 197e12)
    assert (slow.step_seconds, slow.binds) == (slow.hbm_seconds, "hbm")
    assert roofline(demand(hbm_bytes=1e9), V5E, (2, 2)).binds == "compute"
    assert roofline(demand(collectives=(reduction(10**11),)), V5E, (2, 2)).binds == "interconnect"


def test_float32_products_take_six_passes():
    exact = roofline(demand(float32_flops=(24e12, 0)), V5E, (2, 2))
    assert exact.compute_seconds == pytest.approx(6 * 24e12 / V5E.bf16_flops)
    middle = roofline(demand(float32_flops=(0, 12e12)), V5E, (2, 2))
    assert middle.compute_seconds == pytest.approx((12e12 + 3 * 12e12) / 197e12)


def test_only_asynchronous_collectives_hide():
    waiting = roofline(demand(collectives=(reduction(10**9, times=2),)), V5E, (2, 2))
    assert waiting.exposed_seconds == pytest.approx(2 * 0.015)
    assert waiting.step_seconds == pytest.approx(waiting.hbm_seconds + 0.03)
    hidden = roofline(demand(collectives=(reduction(10**9, asynchronous=True),)), V5E, (2, 2))
    assert hidden.exposed_seconds == 0
    assert hidden.step_seconds == hidden.hbm_seconds


def test_a_chip_of_two_devices_halves():
    chip = CHIPS["tpu7x"]
    assert roofline(demand(), chip, (2, 2, 1)).hbm_seconds == pytest.approx(2 * 240e9 / 7380e9)


def test_scaling_at_the_same_examples_per_chip_and_at_the_same_batch():
    rows = scaling(demand(examples=96, fixed_hbm_bytes=1e9, collectives=(reduction(10**8),)), V5E, (2, 2))
    weak = [row for row in rows if row.batch == "per chip"]
    strong = [row for row in rows if row.batch == "global"]
    assert [row.chips for row in weak] == list(SIZES)
    assert [row.examples_per_step for row in weak] == [96 * chips for chips in SIZES]
    # 64 chips would have 6 clips each, too few for the program to stay what it is.
    assert [row.chips for row in strong] == [4, 8, 16, 32]
    assert {row.examples_per_step for row in strong} == {384}
    for some in (weak, strong):
        assert some[0].efficiency == 1
    assert weak[-1].efficiency > 0.99
    assert strong[-1].efficiency < strong[1].efficiency < 1
    assert strong[-1].step_seconds == pytest.approx((1e9 + 239e9 / 8) / 819e9 + 2 * 1e8 * 31 / 32 / 100e9)
    for row in rows:
        assert row.examples_per_second == pytest.approx(row.examples_per_step / row.step_seconds)
