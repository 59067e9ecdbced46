"""The count of cells that sequences share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hoshikage_core._cells import Cells

N = 4
SEQUENCES = st.integers(0, N - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("compute"), SEQUENCES, st.integers(1, 9)),
        st.tuples(st.just("cut"), SEQUENCES, st.integers(0, 20)),
        st.tuples(st.just("copy"), SEQUENCES, SEQUENCES, st.integers(1, 20)),
    ),
    max_size=40,
)


@given(STEPS)
def test_as_many_as_there_are(steps: list[tuple[str, int, int] | tuple[str, int, int, int]]) -> None:
    """Whatever was computed, cut and copied: as many are taken as a cache has that knows each cell."""
    n_held, n_made = [0] * N, 0
    held: list[list[int]] = [[] for _ in range(N)]
    cells = Cells(n_held)
    for step in steps:
        if step[0] == "compute":
            held[step[1]] += range(n_made, n_made + step[2])
            n_made += step[2]
        elif step[0] == "cut":
            n = min(step[2], n_held[step[1]])
            held[step[1]] = held[step[1]][:n]
            cells.cut(step[1], n)
        else:
            _, source, target, wanted = step  # type: ignore[misc]
            n = min(wanted, n_held[source])
            if source == target or n == 0:
                continue
            held[target] = held[source][:n]
            cells.copy(source, target, n)
        n_held[:] = map(len, held)
        assert cells.n_taken == len(set().union(*held))
