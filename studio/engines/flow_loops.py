"""The inner loops of `studio.engines.flow`, compiled: each pixel is read once and no picture in between is made.

All numbers are float32 and are worked on in the order in which NumPy would, so that it gives the same bytes.
"""

from __future__ import annotations

import numpy as np

from studio.scene.kernel import kernel


@kernel
def move(motion, by, places):
    """Writes to places, float32 (H, W, 2), each pixel's own x and y plus `by` (float32) times its motion."""
    height, width, _ = motion.shape
    for y in range(height):
        for x in range(width):
            places[y, x, 0] = np.float32(x) + by * motion[y, x, 0]
            places[y, x, 1] = np.float32(y) + by * motion[y, x, 1]


@kernel
def differ(first, second, found):
    """Writes to found, float32 (H, W), the mean over the channels by which two uint8 (H, W, 3) differ."""
    height, width, _ = first.shape
    for y in range(height):
        for x in range(width):
            total = 0
            for c in range(3):
                total += abs(np.int32(first[y, x, c]) - np.int32(second[y, x, c]))
            found[y, x] = np.float32(total) / np.float32(3)


@kernel
def distance(first, second, factor, found):
    """Writes to found, float32 (H, W), `factor` (float32) times the distance of two float32 (H, W, 2) at each pixel."""
    height, width, _ = first.shape
    for y in range(height):
        for x in range(width):
            a, b = first[y, x, 0] - second[y, x, 0], first[y, x, 1] - second[y, x, 1]
            found[y, x] = factor * np.sqrt(a * a + b * b)


@kernel
def lower_outside(motion, outside, weight):
    """Multiplies weight, float32 (H, W), by `outside` (float32) where the motion leads out of the frame."""
    height, width, _ = motion.shape
    for y in range(height):
        for x in range(width):
            u, v = motion[y, x, 0] + np.float32(x), motion[y, x, 1] + np.float32(y)
            if not (u >= 0 and v >= 0 and u <= width - 1 and v <= height - 1):
                weight[y, x] *= outside


@kernel
def scatter(motion, weight, by, across, down, landed):
    """Adds up, at the four pixels round each place that `by` times the motion leads to, what lands there.

    Args:
        motion: float32 (h, w, 2).
        weight: float32 (h, w).
        by: float32.
        across, down: float32: pixels here for each pixel of the motion, along x and y.
        landed: float32 (h, w, 3), is written: the weighted sum of motions, and of weights.
    """
    height, width = weight.shape
    sums, part = np.zeros((height, width, 3)), np.empty((height, width, 3))
    for right in range(2):
        for below in range(2):
            part[:] = 0
            for y in range(height):
                for x in range(width):
                    u = np.float32(x) + by * motion[y, x, 0] * across
                    v = np.float32(y) + by * motion[y, x, 1] * down
                    i, j = np.floor(u), np.floor(v)
                    to_x, to_y = np.int64(i) + right, np.int64(j) + below
                    if to_x < 0 or to_y < 0 or to_x >= width or to_y >= height:
                        continue
                    near = weight[y, x] * abs(np.float32(1 - right) - (u - i)) * abs(np.float32(1 - below) - (v - j))
                    part[to_y, to_x, 0] += near * motion[y, x, 0]
                    part[to_y, to_x, 1] += near * motion[y, x, 1]
                    part[to_y, to_x, 2] += near
            sums += part
    landed[:] = sums


@kernel
def blend(colours, kept, seen, shares, least, frame):
    """Writes to frame, uint8 (H, W, 3), the mean of two pictures by what is seen in each.

    Args:
        colours: two uint8 (H, W, 3).
        kept: two float32 (H, W): the part of a picture's weight that its own motion leaves.
        seen: two float32 (H, W): how much of it landed at a pixel; more than all is all.
        shares: two float32: of the pictures, by time.
        least: float32, of the weight of what is not seen.
    """
    height, width, _ = frame.shape
    for y in range(height):
        for x in range(width):
            first = shares[0] * (min(seen[0][y, x], np.float32(1)) * kept[0][y, x] + least)
            second = shares[1] * (min(seen[1][y, x], np.float32(1)) * kept[1][y, x] + least)
            total = first + second
            for c in range(3):
                mixed = first * np.float32(colours[0][y, x, c]) + second * np.float32(colours[1][y, x, c])
                frame[y, x, c] = np.uint8(min(max(np.rint(mixed / total), np.float32(0)), np.float32(255)))
