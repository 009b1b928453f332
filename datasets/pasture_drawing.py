"""How a pasture scene is drawn: meadow first, then the animals from back to front.

Everything is drawn in units of the picture's side at three times the size and area-averaged, so a
seed gives (but for a rare redraw) the same scene at any size. The factor is odd on purpose: a mask
is where an instance covers at least half of a pixel, and two instances can then never share one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from udit_bench.scene import ImageArray, MaskArray

SUPERSAMPLE = 3
Colour = tuple[int, int, int]
Point = tuple[float, float]
Rng = np.random.Generator

SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((96, 158, 224), (206, 228, 244)),
    ((120, 176, 232), (236, 240, 236)),
    ((150, 162, 178), (214, 216, 214)),
    ((112, 128, 190), (248, 206, 168)),
    ((72, 128, 200), (180, 214, 240)),
)
MEADOWS: tuple[tuple[Colour, Colour], ...] = (
    ((128, 172, 84), (74, 128, 50)),
    ((150, 178, 92), (96, 138, 56)),
    ((112, 160, 88), (58, 112, 56)),
    ((164, 176, 98), (112, 134, 60)),
)
HILLS: tuple[Colour, ...] = ((110, 146, 120), (126, 154, 108), (98, 134, 132), (138, 150, 124))
FLEECES: tuple[Colour, ...] = ((246, 242, 232), (238, 230, 212), (250, 248, 244), (178, 172, 168))
FACES: tuple[Colour, ...] = ((58, 50, 48), (86, 72, 64), (210, 186, 164))
COATS: tuple[Colour, ...] = ((240, 208, 142), (232, 194, 122), (246, 218, 160))
PATCHES: tuple[Colour, ...] = ((142, 82, 38), (122, 66, 30), (160, 94, 44))


@dataclass(frozen=True)
class Pose:
    """Where an animal stands: foot point and height in picture units, and which way it looks."""

    x: float
    foot: float
    height: float
    facing: int  # 1 looks right, -1 looks left


def _pick(rng: Rng, options: Sequence[object]) -> int:
    return int(rng.integers(len(options)))


def _jitter(rng: Rng, colour: Colour, amount: float) -> Colour:
    shift = rng.normal(0.0, amount) + rng.normal(0.0, amount / 2, 3)
    red, green, blue = np.clip(np.asarray(colour) + shift, 0, 255).astype(int)
    return int(red), int(green), int(blue)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


Drawn = tuple[
    Image.Image, Callable[[], Image.Image]
]  # "L" silhouette, and what makes its RGB paint


class Pen:
    """Draws shapes given in picture units on a canvas of ``side`` pixels."""

    def __init__(self, image: Image.Image) -> None:
        self.side = image.width
        self.draw = ImageDraw.Draw(image)

    def disc(self, x: float, y: float, rx: float, ry: float, fill: object) -> None:
        side = self.side
        box = ((x - rx) * side, (y - ry) * side, (x + rx) * side, (y + ry) * side)
        self.draw.ellipse(box, fill=fill)  # type: ignore[arg-type]

    def shape(self, points: Sequence[Point], fill: object) -> None:
        self.draw.polygon([(x * self.side, y * self.side) for x, y in points], fill=fill)  # type: ignore[arg-type]

    def limb(self, points: Sequence[Point], width: float, fill: object) -> None:
        """A line with round joints and ends."""
        for (x0, y0), (x1, y1) in pairwise(points):
            length = math.hypot(x1 - x0, y1 - y0) or 1e-6
            nx, ny = (y0 - y1) / length * width / 2, (x1 - x0) / length * width / 2
            self.shape(
                [(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)],
                fill,
            )
        for x, y in points:
            self.disc(x, y, width / 2, width / 2, fill)


def _noise(rng: Rng, cells: int, side: int) -> npt.NDArray[np.float32]:
    """Smooth noise in about [-1, 1]: a random grid, enlarged."""
    grid = rng.uniform(-1.0, 1.0, (cells, cells)).astype(np.float32)
    enlarged = Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(enlarged)


def _gradient(
    top: Colour, bottom: Colour, rows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    weight = rows[:, None, None]
    return np.asarray(top, np.float32) * (1 - weight) + np.asarray(bottom, np.float32) * weight


def draw_background(rng: Rng, side: int) -> tuple[Image.Image, float]:
    """A meadow under a sky: the ``side`` x ``side`` picture, and the height of its horizon."""
    horizon = float(rng.uniform(0.26, 0.4))
    sky, meadow = SKIES[_pick(rng, SKIES)], MEADOWS[_pick(rng, MEADOWS)]
    rows = (np.arange(side, dtype=np.float32) + 0.5) / side
    canvas = _gradient(
        _jitter(rng, sky[0], 8), _jitter(rng, sky[1], 6), np.clip(rows / horizon, 0, 1)
    )
    picture = Image.fromarray(
        np.clip(np.broadcast_to(canvas, (side, side, 3)), 0, 255).astype(np.uint8)
    )
    _draw_clouds(rng, picture, horizon)
    pen = Pen(picture)
    _draw_hills(rng, pen, horizon)
    ground = _gradient(
        _jitter(rng, meadow[0], 7),
        _jitter(rng, meadow[1], 7),
        np.clip((rows - horizon) / (1 - horizon), 0, 1),
    )
    texture = 7.0 * _noise(rng, 5, side) + 5.0 * _noise(rng, 24, side) + 5.0 * _noise(rng, 64, side)
    ground = np.clip(ground + texture[:, :, None] * np.asarray((1.0, 1.0, 0.6)), 0, 255)
    columns = (np.arange(side, dtype=np.float32) + 0.5) / side
    wave, phase = rng.uniform(3, 8), rng.uniform(0, 6)
    edge = horizon + 0.012 * np.sin(columns * wave + phase)
    below = Image.fromarray(((rows[:, None] > edge[None, :]) * 255).astype(np.uint8))
    picture.paste(Image.fromarray(ground.astype(np.uint8)), mask=below)
    _draw_plants(rng, pen, horizon)
    return picture, horizon


def _draw_clouds(rng: Rng, picture: Image.Image, horizon: float) -> None:
    layer = Image.new("L", picture.size, 0)
    pen = Pen(layer)
    for _ in range(int(rng.integers(0, 4))):
        x, y, width = rng.uniform(0, 1), rng.uniform(0.03, horizon * 0.7), rng.uniform(0.06, 0.14)
        for puff in rng.uniform(-1, 1, 5):
            radius = width * (0.55 - 0.3 * abs(puff))
            pen.disc(x + puff * width, y, radius, radius * 0.6, int(rng.integers(150, 230)))
    blurred = layer.filter(ImageFilter.GaussianBlur(picture.width / 110))
    picture.paste((255, 255, 255), mask=blurred)


def _draw_hills(rng: Rng, pen: Pen, horizon: float) -> None:
    for layer in range(int(rng.integers(0, 3))):
        colour = _jitter(rng, HILLS[_pick(rng, HILLS)], 8)
        height = rng.uniform(0.03, 0.11) / (1 + 0.5 * layer)
        xs = np.linspace(0, 1, 25)
        ridge = horizon - height * (0.6 + 0.5 * np.sin(xs * rng.uniform(4, 9) + rng.uniform(0, 6)))
        points = [(float(x), float(y)) for x, y in zip(xs, ridge, strict=True)]
        pen.shape([*points, (1.0, horizon + 0.03), (0.0, horizon + 0.03)], colour)


def _draw_plants(rng: Rng, pen: Pen, horizon: float) -> None:
    for _ in range(int(rng.integers(0, 4))):  # bushes along the horizon
        x, radius = rng.uniform(0, 1), rng.uniform(0.02, 0.055)
        green = _jitter(rng, (62, 104, 54), 10)
        for dx in (-0.8, 0.8, 0.0):
            pen.disc(x + dx * radius, horizon + 0.01, radius, radius * 0.9, green)
        pen.disc(
            x - 0.2 * radius,
            horizon - radius * 0.25,
            radius * 0.5,
            radius * 0.35,
            _shade(green, 1.2),
        )
    for _ in range(int(rng.integers(0, 4))):  # stones
        x, y = rng.uniform(0, 1), rng.uniform(horizon + 0.08, 0.97)
        radius = 0.012 + 0.02 * (y - horizon)
        grey = _jitter(rng, (150, 148, 142), 12)
        pen.disc(x, y, radius * 1.4, radius, _shade(grey, 0.75))
        pen.disc(x - 0.2 * radius, y - 0.25 * radius, radius * 1.05, radius * 0.7, grey)
    blades = int(rng.integers(20, 60))
    for x, y, lean in rng.uniform((0, horizon + 0.05, -0.01), (1, 1, 0.01), (blades, 3)):
        length = 0.012 + 0.03 * (y - horizon)
        pen.limb([(x, y), (x + lean, y - length)], 0.005, _jitter(rng, (84, 132, 58), 12))
    for x, y in rng.uniform((0, horizon + 0.1), (1, 1), (int(rng.integers(0, 14)), 2)):
        flower = ((248, 240, 150), (250, 250, 250), (226, 150, 190))[int(rng.integers(3))]
        pen.disc(x, y, 0.007, 0.007, flower)


def draw_sheep(rng: Rng, pose: Pose, side: int) -> Drawn:
    """A woolly sheep: curls along the edge and on the back, four short legs."""
    fleece, face = FLEECES[_pick(rng, FLEECES)], FACES[_pick(rng, FACES)]
    fleece, face = _jitter(rng, fleece, 5), _jitter(rng, face, 6)
    h, x, foot, look = pose.height, pose.x, pose.foot, pose.facing
    paint, outline = Image.new("RGB", (side, side), fleece), Image.new("L", (side, side), 0)
    colour, mask = Pen(paint), Pen(outline)

    def both(name: str, *where: object, fill: Colour) -> None:
        getattr(colour, name)(*where, fill)
        getattr(mask, name)(*where, 255)

    belly, rx, ry = foot - 0.56 * h, rng.uniform(0.5, 0.58) * h, 0.3 * h
    for dx, dark in ((-0.62, 0.8), (0.48, 0.8), (-0.38, 1.0), (0.68, 1.0)):
        leg = x + dx * rx
        both(
            "limb",
            [(leg, belly + 0.1 * h), (leg, foot - 0.04 * h)],
            0.11 * h,
            fill=_shade(face, dark),
        )
    both("disc", x - look * rx, belly, 0.09 * h, 0.12 * h, fill=_shade(fleece, 0.9))
    both("disc", x, belly, rx, ry, fill=_shade(fleece, 0.94))
    turn = rng.uniform(0, 1)
    for angle in np.linspace(0, 2 * np.pi, 13)[:-1] + turn:  # the curls along the edge
        px, py = x + 0.86 * rx * np.cos(angle), belly + 0.82 * ry * np.sin(angle)
        both("disc", px, py, 0.15 * h, 0.14 * h, fill=_shade(fleece, 0.97 - 0.13 * np.sin(angle)))
    for px, py in rng.uniform((-0.75, -0.75), (0.75, 0.6), (12, 2)):  # curls on the back
        tone = _shade(fleece, 0.99 - 0.1 * py + rng.normal(0, 0.02))
        colour.disc(x + px * rx, belly + py * ry, 0.1 * h, 0.085 * h, tone)
    hx, hy = x + look * (rx + 0.1 * h), foot - rng.uniform(0.7, 0.82) * h
    both("disc", hx, hy, 0.16 * h, 0.2 * h, fill=face)
    both("disc", hx + look * 0.07 * h, hy + 0.08 * h, 0.11 * h, 0.11 * h, fill=face)
    both("disc", hx - look * 0.15 * h, hy - 0.06 * h, 0.09 * h, 0.05 * h, fill=_shade(face, 0.8))
    both("disc", hx - look * 0.03 * h, hy - 0.17 * h, 0.13 * h, 0.09 * h, fill=fleece)
    colour.disc(hx + look * 0.06 * h, hy - 0.03 * h, 0.028 * h, 0.028 * h, (245, 245, 240))
    return outline, lambda: paint


def draw_giraffe(rng: Rng, pose: Pose, side: int) -> Drawn:
    """A patched giraffe: long legs, a slanted neck, two ossicones."""
    coat = _jitter(rng, COATS[_pick(rng, COATS)], 5)
    patch = _jitter(rng, PATCHES[_pick(rng, PATCHES)], 6)
    h, x, foot, look = pose.height, pose.x, pose.foot, pose.facing
    torso_y, rx, ry = foot - 0.46 * h, 0.185 * h, 0.105 * h
    chest, rump = x + look * 0.12 * h, x - look * 0.12 * h
    lean = rng.uniform(0.1, 0.2)
    head = (chest + look * lean * h, foot - 0.93 * h)
    outline = Image.new("L", (side, side), 0)
    mask = Pen(outline)
    legs = [
        (chest - 0.03 * h, 0.8),
        (rump + 0.035 * h, 0.8),
        (chest + 0.035 * h, 1.0),
        (rump - 0.035 * h, 1.0),
    ]
    step = rng.uniform(-0.025, 0.025, 4)
    limbs = [
        [(lx, torso_y), (lx + s * h, foot - 0.02 * h)]
        for (lx, _), s in zip(legs, step, strict=True)
    ]
    for limb in limbs:
        mask.limb(limb, 0.05 * h, 255)
    mask.limb(
        [(rump - look * 0.05 * h, torso_y - 0.05 * h), (rump - look * 0.1 * h, torso_y + 0.13 * h)],
        0.022 * h,
        255,
    )
    mask.disc(x, torso_y, rx, ry, 255)
    mask.disc(chest, torso_y - 0.03 * h, 0.1 * h, 0.115 * h, 255)
    base = (chest + look * 0.015 * h, torso_y - 0.04 * h)
    nx, ny = head[0] - base[0], head[1] - base[1]
    mask.shape(
        [
            (base[0] - 0.085 * h, base[1]),
            (base[0] + 0.085 * h, base[1] + 0.02 * h),
            (head[0] + 0.033 * h, head[1]),
            (head[0] - 0.033 * h, head[1]),
        ],
        255,
    )
    mask.limb([head, (head[0] + look * 0.085 * h, head[1] + 0.035 * h)], 0.07 * h, 255)
    for dx in (-0.018, 0.02):
        mask.limb(
            [(head[0] + dx * h, head[1]), (head[0] + dx * h, head[1] - 0.06 * h)], 0.018 * h, 255
        )

    def paint() -> Image.Image:
        spots = _giraffe_spots(
            rng, Image.new("L", (side, side), 0), x, torso_y, base, (nx, ny), limbs, h
        )
        light = np.clip((np.arange(side) / side - (foot - h)) / h, 0, 1)[:, None, None]
        tone = np.broadcast_to(np.asarray(coat) * (1.04 - 0.16 * light), (side, side, 3))
        picture = Image.fromarray(np.clip(tone, 0, 255).astype(np.uint8))
        picture.paste(patch, mask=spots)
        colour = Pen(picture)
        for limb, (_, dark) in zip(limbs, legs, strict=True):
            if dark < 1.0:  # the far legs lie in the shade
                (x0, y0), (x1, y1) = limb
                colour.limb([(x0, max(y0, torso_y + ry)), (x1, y1)], 0.05 * h, _shade(coat, dark))
        for limb in limbs:
            colour.disc(limb[1][0], foot - 0.012 * h, 0.03 * h, 0.02 * h, _shade(patch, 0.7))
        colour.disc(
            head[0] + look * 0.09 * h, head[1] + 0.042 * h, 0.03 * h, 0.026 * h, _shade(patch, 0.8)
        )
        colour.disc(
            head[0] + look * 0.02 * h, head[1] - 0.005 * h, 0.011 * h, 0.011 * h, (30, 24, 20)
        )
        for dx in (-0.018, 0.02):
            colour.disc(
                head[0] + dx * h, head[1] - 0.06 * h, 0.014 * h, 0.014 * h, _shade(patch, 0.6)
            )
        return picture

    return outline, paint


def _giraffe_spots(
    rng: Rng,
    spots: Image.Image,
    x: float,
    torso_y: float,
    base: Point,
    neck: Point,
    limbs: Sequence[Sequence[Point]],
    h: float,
) -> Image.Image:
    """The coat's pattern: a jittered honeycomb on the trunk, pairs up the neck, to the knees."""
    pitch = 0.072 * h
    where = [
        (x + (column + 0.5 * (row % 2)) * pitch, torso_y + row * pitch * 0.9, 0.46 * pitch)
        for row in range(-3, 3)
        for column in range(-4, 5)
    ]
    for t in np.arange(0.16, 0.93, 0.1):
        for side in (-0.42, 0.42):
            px = base[0] + neck[0] * t + side * (0.085 - 0.05 * t) * h
            where.append((px, base[1] + neck[1] * t + side * 0.02 * h, (0.034 - 0.014 * t) * h))
    for (x0, y0), (x1, y1) in limbs:
        where += [(x0 + (x1 - x0) * t, y0 + (y1 - y0) * t, 0.02 * h) for t in (0.38, 0.55)]
    marks = Pen(spots)
    shift = rng.normal(0, 0.09, (len(where), 2))
    angles = np.sort(rng.uniform(0, 2 * np.pi, (len(where), 6)))
    reach = rng.uniform(0.8, 1.15, (len(where), 6))
    for (px, py, radius), (dx, dy), angle, far in zip(where, shift, angles, reach, strict=True):
        px, py = px + dx * 2 * radius, py + dy * 2 * radius
        corners = np.stack(
            [px + radius * far * np.cos(angle), py + radius * far * np.sin(angle)], 1
        )
        marks.shape([(float(cx), float(cy)) for cx, cy in corners], 255)
        marks.disc(px, py, 0.75 * radius, 0.75 * radius, 255)
    return spots


@dataclass(frozen=True)
class Species:
    """How one kind of animal is drawn and spaced.

    Attributes:
        draw: ``(rng, pose, side) -> (silhouette, paint)``.
        height: smallest and largest height at the lower edge of the picture, in picture units.
        spacing: least distance between two animals, in multiples of their mean height.
        visible: least share of each animal that must stay visible.
        shadow: half width of the shadow, in multiples of the height.
    """

    draw: Callable[[Rng, Pose, int], Drawn]
    height: tuple[float, float]
    spacing: float
    visible: float
    shadow: float


SPECIES = {
    "sheep": Species(draw_sheep, (0.25, 0.34), spacing=0.62, visible=0.55, shadow=0.5),
    "giraffe": Species(draw_giraffe, (0.6, 0.78), spacing=0.34, visible=0.72, shadow=0.24),
}


def _poses(rng: Rng, species: Species, horizon: float, count: int) -> list[Pose]:
    poses: list[Pose] = []
    while len(poses) < count:
        foot = float(rng.uniform(max(0.6, horizon + 0.22), 0.97))
        near = 0.62 + 0.38 * (foot - 0.6) / 0.37
        height = float(rng.uniform(*species.height)) * near
        pose = Pose(float(rng.uniform(0.1, 0.9)), foot, height, 1 if rng.random() < 0.5 else -1)
        if (
            all(
                np.hypot(pose.x - other.x, 1.5 * (pose.foot - other.foot))
                > species.spacing * (pose.height + other.height) / 2
                for other in poses
            )
            or rng.random() < 0.02
        ):  # a crowded meadow must not loop for ever
            poses.append(pose)
    return sorted(poses, key=lambda pose: pose.foot)


def draw_scene(
    rng: Rng, label: str, size: int, *, min_share: float
) -> tuple[ImageArray, MaskArray]:
    """One scene of 1 - 4 animals, drawn again until every one is visible enough.

    Args:
        rng: the only source of randomness.
        label: ``"sheep"`` or ``"giraffe"``.
        size: side of the square picture in pixels.
        min_share: least visible area of an instance as a share of the picture.

    Returns:
        image ``(size, size, 3) uint8`` RGB and disjoint masks ``(N, size, size) bool``, from back
        to front.
    """
    species = SPECIES[label]
    side = SUPERSAMPLE * size
    picture, horizon = draw_background(rng, side)
    count = int(rng.choice((1, 2, 3, 4), p=(0.3, 0.35, 0.22, 0.13)))
    while True:
        owner, drawn, whole = Image.new("L", (side, side), 0), [], []
        for number, pose in enumerate(_poses(rng, species, horizon, count), start=1):
            outline, paint = species.draw(rng, pose, side)
            owner.paste(number, mask=outline)
            drawn.append((pose, outline, paint))
            whole.append(np.count_nonzero(np.asarray(outline)))
        fine = np.asarray(owner)
        cells = fine.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE)
        masks = np.stack([(cells == k).mean((1, 3)) >= 0.5 for k in range(1, count + 1)])
        shown = np.bincount(fine.ravel(), minlength=count + 1)[1:]
        if (
            masks.mean((1, 2)).min() >= min_share
            and (shown >= species.visible * np.array(whole)).all()
        ):
            break
    for pose, outline, paint in drawn:
        _draw_shadow(picture, pose, species.shadow)
        picture.paste(paint(), mask=outline)
    return np.asarray(picture.reduce(SUPERSAMPLE)), masks


def _draw_shadow(picture: Image.Image, pose: Pose, reach: float) -> None:
    layer = Image.new("L", picture.size, 0)
    Pen(layer).disc(
        pose.x, pose.foot - 0.01, reach * pose.height, 0.07 * pose.height * reach / 0.4, 90
    )
    shade = ImageChops.multiply(picture, Image.new("RGB", picture.size, (90, 100, 90)))
    picture.paste(shade, mask=layer)
