# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Assignment of detections to tracks: the pairs of largest total similarity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def box_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the IoU of every box of (N, 4) with every box of (M, 4), float64 (N, M)."""
    # Transposed, so that each operation is on whole rows: N and M are small.
    a, b = a.T[:, :, None].astype(np.float64), b.T[:, None].astype(np.float64)
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = sides[0] * sides[1]
    areas = [np.maximum(c[2] - c[0], 0) * np.maximum(c[3] - c[1], 0) for c in (a, b)]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, 1e-9))


def assign(
    similarity: NDArray[np.float64], minimum: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the one-to-one pairs with the largest sum of similarities.

    Shortest augmenting paths with potentials (Jonker and Volgenant 1987). A library would bring
    SciPy onto the robot for this one function; its result is the oracle of the tests.

    Args:
        similarity: (N, M), in [0, 1].
        minimum: A pair below this similarity is never made.

    Returns:
        Rows and columns of the pairs, in the order of rows.
    """
    worth = np.where(similarity >= minimum, similarity, 0.0)
    # Rows and columns that match nothing need no search.
    rows, columns = np.flatnonzero(worth.any(axis=1)), np.flatnonzero(worth.any(axis=0))
    worth = worth[rows[:, None], columns]
    if not worth.size:
        return rows, columns
    best = worth.argmax(axis=1)
    if len(set(best.tolist())) == len(rows):
        # Each row has the best column of its own: no other choice is worth more.
        return rows, columns[best]
    swapped = worth.shape[0] > worth.shape[1]
    of_row = _cheapest(-(worth.T if swapped else worth))
    first = np.arange(len(of_row), dtype=np.intp)
    i, j = (of_row, first) if swapped else (first, of_row)
    kept = worth[i, j] > 0
    found = rows[i[kept]], columns[j[kept]]
    order = np.argsort(found[0])
    return found[0][order], found[1][order]


def _cheapest(cost: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the column of each row of a cost matrix (n, m), n <= m, of the least total cost."""
    n, m = cost.shape
    row_of = np.full(m + 1, -1, np.intp)  # The last column is the root of a search.
    u, v = np.zeros(n), np.zeros(m + 1)
    for row in range(n):
        row_of[m] = row
        column = m
        least, visited = np.full(m, np.inf), np.zeros(m + 1, bool)
        before = np.full(m, m, np.intp)
        while row_of[column] >= 0:
            visited[column] = True
            i = row_of[column]
            reduced = cost[i] - u[i] - v[:m]
            shorter = ~visited[:m] & (reduced < least)
            least[shorter], before[shorter] = reduced[shorter], column
            open_ = np.where(visited[:m], np.inf, least)
            nearest = int(open_.argmin())
            delta = open_[nearest]
            u[row_of[visited]] += delta
            v[visited] -= delta
            least[~visited[:m]] -= delta
            column = nearest
        while column != m:
            row_of[column] = row_of[before[column]]
            column = before[column]
    of_row = np.empty(n, np.intp)
    taken = np.flatnonzero(row_of[:m] >= 0)
    of_row[row_of[taken]] = taken
    return of_row
