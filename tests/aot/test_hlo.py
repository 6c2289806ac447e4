"""Parsing compiled programs: short texts in the forms that XLA writes for TPUs and CPUs (jax 0.10)."""

import jax
import jax.numpy as jnp
import pytest

from audiosep_jax.aot import hlo

COMBINED = """\
HloModule jit_train_step, is_scheduled=true, num_partitions=4

%add.clone (x: f32[], y: f32[]) -> f32[] {
  ROOT %add.1 = f32[]{:T(128)} add(%x, %y)
}

ENTRY %main.5_spmd (param: f32[3,3,16,16]) -> f32[] {
  %fusion.9 = (f32[8]{0:T(128)S(1)}, f32[8]{0:T(128)S(1)}) fusion(%param), kind=kLoop, calls=%fused, \
metadata={op_name="jit(train_step)/after all-reduce(x)"}
  %all-reduce.13 = f32[129]{0:T(256)S(1)} all-reduce(%get-tuple-element.2762), channel_id=14, \
replica_groups=mesh['axis_0'=4,'axis_1'=1,'axis_2'=1] {'axis_0','axis_1'}, use_global_device_ids=true, \
to_apply=%add.clone, metadata={op_name="jit(train_step)/jvp(Separator)/resunet/bn0/reduce_sum"}
  %all-reduce.100 = (f32[]{:T(128)}, f32[26,16]{0,1:T(8,128)S(1)}, \
/*index=2*/bf16[3,3,16,16]{3,2,1,0:T(8,128)(2,1)S(1)}) \
all-reduce(%a, %b, /*index=2*/%c), channel_id=3, replica_groups={{0,1},{2,3}}, to_apply=%add.clone
  %get-tuple-element.1 = f32[]{:T(128)} get-tuple-element(%all-reduce.100), index=0
  ROOT %copy.1 = f32[]{:T(128)} copy(%get-tuple-element.1)
}
"""

ASYNCHRONOUS = """\
%wrapped_reduce_scatter (p: f32[16,4]) -> f32[4,4] {
  %p = f32[16,4]{1,0} parameter(0)
  ROOT %reduce-scatter.2 = f32[4,4]{1,0} reduce-scatter(%p), replica_groups=[2,4]<=[8], \
dimensions={0}, to_apply=%add
}

ENTRY %main (a: f32[4,2]) -> f32[16,2] {
  %all-gather-start.1 = (f32[4,2]{1,0}, f32[16,2]{1,0}) all-gather-start(%a), \
replica_groups=[1,4]<=[4], dimensions={0}
  %all-gather-done.1 = f32[16,2]{1,0} all-gather-done(%all-gather-start.1)
  %all-reduce-start.3 = f32[64]{0} all-reduce-start(%b), replica_groups={}, to_apply=%add
  %all-reduce-done.3 = f32[64]{0} all-reduce-done(%all-reduce-start.3)
  %async-start.1 = ((f32[16,4]{1,0}), f32[4,4]{1,0}, u32[]) async-start(%c), calls=%wrapped_reduce_scatter
  %async-done.1 = f32[4,4]{1,0} async-done(%async-start.1), calls=%wrapped_reduce_scatter
  %collective-permute-start.1 = (s32[5]{0}, s32[5]{0}, u32[]{:S(2)}, u32[]{:S(2)}) \
collective-permute-start(%d), source_target_pairs={{0,1},{1,0}}
  %collective-permute-done.1 = s32[5]{0} collective-permute-done(%collective-permute-start.1)
  %all-to-all.1 = (f32[2]{0}, f32[2]{0}) all-to-all(%e, %f), replica_groups={{0,1}}
}
"""

LOOP = """\
%all-reduce-scatter.7.body (p: f32[32]) -> f32[8] {
  %all-reduce.7 = f32[32]{0} all-reduce(%p), replica_groups=[1,4]<=[4], to_apply=%add
  ROOT %dynamic-slice.7 = f32[8]{0} dynamic-slice(%all-reduce.7, %i), dynamic_slice_sizes={8}
}

%body.1 (arg: (s32[], f32[4])) -> (s32[], f32[4]) {
  %all-reduce.1 = f32[4]{0} all-reduce(%x), replica_groups={}, to_apply=%add
  %fusion.1 = f32[8]{0} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.7.body
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %while.1 = (s32[], f32[4]) while(%t), condition=%cond.1, body=%body.1, \
backend_config={"known_trip_count":{"n":"3"},"known_init_step":{"init":"0","step":"1"}}
}
"""


SCAN = """\
%condition.1 (p: (s32[], f32[4])) -> pred[] {
  %constant.910 = s32[]{:T(128)} constant(5)
  %get-tuple-element.1 = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt.12 = pred[]{:T(512)} compare(%get-tuple-element.1, %constant.910), direction=LT
}

%body.1 (arg: (s32[], f32[4])) -> (s32[], f32[4]) {
  %all-gather.1 = f32[4]{0:T(128)} all-gather(%x), replica_groups={}, dimensions={0}, \
frontend_attributes={async_collective_name="all-gather-start"}
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %while.226 = (s32[], f32[4]) while(%t), condition=%condition.1, body=%body.1, metadata={op_name="while"}
}
"""


def test_combined_collectives_with_layouts_and_mesh_groups():
    statistics, gradients = hlo.collectives(COMBINED)
    assert (statistics.kind, statistics.bytes, statistics.group) == ("all-reduce", 129 * 4, 4)
    assert statistics.operation.endswith("bn0/reduce_sum")
    assert [array.shape for array in gradients.arrays] == [(), (26, 16), (3, 3, 16, 16)]
    assert gradients.bytes == 4 + 26 * 16 * 4 + 9 * 256 * 2
    assert gradients.group == 2
    assert not statistics.asynchronous
    assert not gradients.asynchronous


def test_asynchronous_forms_count_once_with_what_they_make():
    scatter, gather, reduce, permute, exchange = hlo.collectives(ASYNCHRONOUS)
    assert (gather.kind, gather.bytes, gather.group) == ("all-gather", 16 * 2 * 4, 4)
    assert (reduce.kind, reduce.bytes, reduce.group) == ("all-reduce", 256, 0)
    assert (scatter.kind, scatter.bytes, scatter.group) == ("reduce-scatter", 16 * 4 * 4, 4)
    assert (permute.kind, permute.bytes) == ("collective-permute", 20)
    assert (exchange.kind, exchange.bytes) == ("all-to-all", 16)
    assert [one.asynchronous for one in (gather, reduce, scatter, permute, exchange)] == [True] * 4 + [False]


def test_loops_count_as_often_as_they_run_and_a_fused_slice_is_a_scatter():
    scatter, reduce = hlo.collectives(LOOP)
    assert (scatter.kind, scatter.bytes, scatter.times) == ("reduce-scatter", 128, 3)
    assert (reduce.kind, reduce.bytes, reduce.times) == ("all-reduce", 16, 3)


def test_trip_counts_and_asynchronous_collectives_of_a_tpu():
    (gather,) = hlo.collectives(SCAN)
    assert (gather.times, gather.asynchronous) == (5, True)


@pytest.mark.parametrize(
    ("array", "size"),
    [("pred", 6), ("s8", 6), ("bf16", 12), ("f32", 24), ("c64", 48), ("f8e4m3fn", 6), ("s4", 3)],
)
def test_sizes_of_types(array, size):
    assert hlo.HloArray(type=array, shape=(2, 3)).bytes == size


def test_products_are_counted_by_precision():
    def products(a, b, image, kernel):
        exact = jnp.dot(a, b, precision="highest")
        convolved = jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return exact, convolved

    shapes = [(8, 16), (16, 32), (2, 5, 6, 3), (3, 3, 3, 7)]
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    text = jax.jit(products).trace(*arrays).lower().as_text(dialect="hlo")
    flops = hlo.product_flops(text)
    assert flops["highest"] == 2 * 8 * 16 * 32
    assert flops["default"] == 2 * (2 * 5 * 6 * 7) * (3 * 3 * 3)
    assert flops["high"] == 0
