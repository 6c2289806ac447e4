"""FiLM: the condition becomes a shift, or a scale and a shift, of every normalized channel."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from audiosep_jax.config import FilmKind
from audiosep_jax.models.layers import BatchNorm
from audiosep_jax.models.normalization import Normalized
from audiosep_jax.models.packing import PLAIN, bins_of


class FiLM(nn.Module):
    """Feature-wise linear modulation by the condition (Perez et al. 2018).

    Returns a gain, `[batch, channels]` or None, and a shift, `[batch, channels]`. `kind="shift"` is the
    released AudioSep: a projection of the condition is added. `"scale_shift"` also multiplies by one plus a
    second projection.
    """

    kind: FilmKind
    channels: int

    @nn.compact
    def __call__(
        self, condition: Float[Array, "batch size"]
    ) -> tuple[Float[Array, "batch channels"] | None, Float[Array, "batch channels"]]:
        def project(name: str) -> Array:
            dense = nn.Dense(self.channels, kernel_init=nn.initializers.xavier_uniform(), name=name)
            return dense(condition)

        gain = 1 + project("scale") if self.kind == "scale_shift" else None
        return gain, project("shift")


class Normalization(nn.Module):
    """BatchNorm and FiLM, which the next layer computes together with a leaky ReLU."""

    film: FilmKind
    pack: int = PLAIN

    @nn.compact
    def __call__(
        self,
        parts: tuple[Float[Array, "batch time freq packed"], ...],
        condition: Float[Array, "batch size"],
        train: bool,
    ) -> Normalized:
        mean, rstd, scale, bias = BatchNorm(name="bn")(parts, train, bins_of(self.pack))
        if train:
            # The next layer computes the gradient through the statistics itself.
            mean, rstd = jax.lax.stop_gradient((mean, rstd))
        gain, shift = FiLM(self.film, mean.shape[0], name="film")(condition)
        if gain is None:
            gain, shift = scale[None], shift + bias[None]
        else:
            gain, shift = gain * scale[None], gain * bias[None] + shift
        return Normalized(
            parts=parts,
            mean=mean,
            rstd=rstd,
            gain=gain,
            shift=shift,
            bins=bins_of(self.pack),
            of_batch=train,
        )
