"""Which frames of a video make a clip.

Source: ReferFormer (Wu et al., CVPR 2022), released datasets.
"""

import numpy as np

# the two frames near the centre are at most this far from it
NEAR = 3


def training_clip(length: int, centre: int, num_frames: int, rng: np.random.Generator) -> list[int]:
    """Draw a clip: the centre, one frame shortly before it and one shortly after, others anywhere.

    Frames near either end of the video repeat. The others come from outside the span of the first
    three, which counts its last frame as outside, as in the released code; from the whole video if
    that is too little; and all frames repeat where the video is shorter still. There the released
    code fails if they must repeat more than twice.

    Args:
        length: frames of the video.
        centre: in 0 to ``length`` - 1.
        num_frames: T; with 1 nothing is drawn, and of 2 the later near frame is left out.
        rng: the generator to draw from.

    Returns:
        T indices in rising order.
    """
    if num_frames == 1:
        return [centre]
    before, after = rng.integers(1, NEAR, size=2, endpoint=True)
    near = [max(0, centre - int(before)), centre, min(length - 1, centre + int(after))]
    if num_frames <= len(near):
        return near[:num_frames]
    missing = num_frames - len(near)
    outside = [*range(near[0]), *range(near[-1], length)]
    pool = outside if len(outside) > missing else list(range(length))
    rounds, rest = divmod(missing, len(pool))
    drawn = rng.choice(len(pool), rest, replace=False)
    return sorted([*near, *pool * rounds, *(pool[i] for i in drawn)])


def centred_window(centre: int, num_frames: int, first: int, last: int) -> list[int]:
    """Frames round an annotated one, in their order; the ends of the video repeat.

    Args:
        centre: the annotated frame.
        num_frames: T; an even number has one frame more before the centre.
        first: of the video.
        last: of the video, inclusive.
    """
    start = centre - num_frames // 2
    return [min(max(i, first), last) for i in range(start, start + num_frames)]
