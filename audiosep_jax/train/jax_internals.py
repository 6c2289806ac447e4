"""The two private parts of JAX that this package uses; a test says what stops working if JAX moves them."""

from typing import Protocol

from jax._src import distributed
from jax._src.clusters import ClusterEnv


class Store(Protocol):
    """The key-value store of a run, kept by process 0; one client per process."""

    def key_value_set(self, key: str, value: str) -> None:
        """Writes a value; an existing key is an error."""

    def key_value_try_get(self, key: str) -> str:
        """Returns a value at once; a missing key is an error with NOT_FOUND in its text."""
        ...

    def key_value_increment(self, key: str, increment: int) -> int:
        """Adds to a number that starts at 0, and returns it."""
        ...


def store() -> Store | None:
    """Returns the store that `jax.distributed.initialize` opened; None in a process without others."""
    return distributed.global_state.client


def in_a_cluster() -> bool:
    """Tells whether `jax.distributed.initialize` would detect other processes without being given any."""
    kinds = ClusterEnv._cluster_types
    return any(kind.is_env_present() for kind in kinds if not kind.opt_in_only_method)
