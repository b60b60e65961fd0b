//! The filter in the loop (H.264, 8.7), inside slices only: no sample of another slice is changed or looked at.

use super::layout::{Layout, NONE, Planes, Vector};
use super::macroblock::{Kind, MbInfo};
use super::transform::chroma_qp;

const ALPHA: [u8; 52] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 5, 6, 7, 8, 9, 10, 12, 13, 15, 17, 20,
    22, 25, 28, 32, 36, 40, 45, 50, 56, 63, 71, 80, 90, 101, 113, 127, 144, 162, 182, 203, 226,
    255, 255,
];
const BETA: [u8; 52] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 6, 6, 7, 7, 8, 8,
    9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 16, 16, 17, 17, 18, 18,
];
/// By strength 1 to 3.
const CLIP: [[u8; 3]; 52] = [
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 1],
    [0, 0, 1],
    [0, 0, 1],
    [0, 0, 1],
    [0, 1, 1],
    [0, 1, 1],
    [1, 1, 1],
    [1, 1, 1],
    [1, 1, 1],
    [1, 1, 1],
    [1, 1, 2],
    [1, 1, 2],
    [1, 1, 2],
    [1, 1, 2],
    [1, 2, 3],
    [1, 2, 3],
    [2, 2, 3],
    [2, 2, 4],
    [2, 3, 4],
    [2, 3, 4],
    [3, 3, 5],
    [3, 4, 6],
    [3, 4, 6],
    [4, 5, 7],
    [4, 5, 8],
    [4, 6, 9],
    [5, 7, 10],
    [6, 8, 11],
    [6, 8, 13],
    [7, 10, 14],
    [8, 11, 16],
    [9, 12, 18],
    [10, 13, 20],
    [11, 15, 23],
    [13, 17, 25],
];

/// The filter for pictures of one quantiser.
#[derive(Clone, Debug)]
pub(super) struct Deblocking {
    luma: Thresholds,
    chroma: Thresholds,
}

#[derive(Clone, Copy, Debug)]
struct Thresholds {
    alpha: i32,
    beta: i32,
    clip: [u8; 3],
}

impl Thresholds {
    fn new(qp: u8) -> Self {
        let at = usize::from(qp);
        Self {
            alpha: i32::from(ALPHA[at]),
            beta: i32::from(BETA[at]),
            clip: CLIP[at],
        }
    }
}

/// Strengths of an edge's four parts of four samples.
type Strengths = [u8; 4];
const NO_EDGE: Strengths = [0; 4];

impl Deblocking {
    pub(super) fn new(qp: u8) -> Self {
        Self {
            luma: Thresholds::new(qp),
            chroma: Thresholds::new(chroma_qp(qp)),
        }
    }

    /// Filters the places `slice` of `planes`.
    pub(super) fn filter(
        &self,
        layout: &Layout,
        infos: &[MbInfo],
        slice: std::ops::Range<usize>,
        planes: &mut Planes,
    ) {
        if self.luma.alpha == 0 {
            return;
        }
        for at in slice {
            let (place, info) = (&layout.places[at], &infos[at]);
            let neighbour = |index: u32| (index != NONE).then_some(index as usize);
            let (luma, chroma) = layout.corner(place);
            for (is_upright, index) in [(true, place.left), (false, place.above)] {
                if let Some(there) = neighbour(index) {
                    let strengths = outer(info, &infos[there], is_upright);
                    if strengths != NO_EDGE {
                        let (luma_there, chroma_there) = layout.corner(&layout.places[there]);
                        self.edge(
                            planes,
                            is_upright,
                            strengths,
                            [
                                Some((luma, across(luma_there, planes.width, 16, is_upright))),
                                Some((
                                    chroma,
                                    across(chroma_there, planes.width / 2, 8, is_upright),
                                )),
                            ],
                        );
                    }
                }
                if !info.has_inner_edges() {
                    continue;
                }
                for edge in 1..4 {
                    let strengths = inner(info, edge, is_upright);
                    if strengths == NO_EDGE {
                        continue;
                    }
                    let shifted = |corner: usize, stride: usize, by: usize| {
                        let at = corner + by * if is_upright { 1 } else { stride };
                        Some((at, at))
                    };
                    // Chroma has half as many edges.
                    let chroma = if edge == 2 {
                        shifted(chroma, planes.width / 2, 4)
                    } else {
                        None
                    };
                    self.edge(
                        planes,
                        is_upright,
                        strengths,
                        [shifted(luma, planes.width, 4 * edge), chroma],
                    );
                }
            }
        }
    }

    /// Filters one edge: of luma and of chroma the first sample behind it, and where the one before it would be if
    /// it lay beside it in the planes, which between macroblocks it need not.
    fn edge(
        &self,
        planes: &mut Planes,
        is_upright: bool,
        strengths: Strengths,
        [luma, chroma]: [Option<(usize, usize)>; 2],
    ) {
        let steps = |stride: usize| if is_upright { (1, stride) } else { (stride, 1) };
        if let Some(at) = luma {
            let steps = steps(planes.width);
            filter_luma(&mut planes.luma, at, steps, strengths, self.luma);
        }
        if let Some(at) = chroma {
            let steps = steps(planes.width / 2);
            for plane in &mut planes.chroma {
                filter_chroma(plane, at, steps, strengths, self.chroma);
            }
        }
    }
}

/// Where the sample behind the far side of the block at `corner` would be.
fn across(corner: usize, stride: usize, side: usize, is_upright: bool) -> usize {
    corner + side * if is_upright { 1 } else { stride }
}

/// Strengths between two macroblocks.
fn outer(here: &MbInfo, there: &MbInfo, is_upright: bool) -> Strengths {
    if here.is_intra() || there.is_intra() {
        return [4; 4];
    }
    if here.kind == Kind::Skip && there.kind == Kind::Skip && here.vectors == there.vectors {
        return NO_EDGE;
    }
    std::array::from_fn(|i| {
        let (a, b) = if is_upright {
            (4 * i, 4 * i + 3)
        } else {
            (i, 12 + i)
        };
        strength(here, a, there, b)
    })
}

/// Strengths inside a macroblock.
fn inner(info: &MbInfo, edge: usize, is_upright: bool) -> Strengths {
    if info.is_intra() {
        return [3; 4];
    }
    std::array::from_fn(|i| {
        let (a, b) = if is_upright {
            (4 * i + edge, 4 * i + edge - 1)
        } else {
            (4 * edge + i, 4 * edge + i - 4)
        };
        strength(info, a, info, b)
    })
}

/// Between two 4x4 blocks, counted by rows, of macroblocks that are predicted from the picture before.
fn strength(here: &MbInfo, a: usize, there: &MbInfo, b: usize) -> u8 {
    if here.counts[a] != 0 || there.counts[b] != 0 {
        return 2;
    }
    let quarter = |block: usize| block / 8 * 2 + block % 4 / 2;
    u8::from(far(here.vectors[quarter(a)], there.vectors[quarter(b)]))
}

/// A whole sample or more apart.
fn far(a: Vector, b: Vector) -> bool {
    a.x.abs_diff(b.x) >= 4 || a.y.abs_diff(b.y) >= 4
}

/// Four samples before an edge and four behind it, from the edge on. `at` as in [`Deblocking::edge`].
fn filter_luma(
    plane: &mut [u8],
    (at_q, at_p): (usize, usize),
    (step, along): (usize, usize),
    strengths: Strengths,
    limits: Thresholds,
) {
    for line in 0..16 {
        let strength = strengths[line / 4];
        if strength == 0 {
            continue;
        }
        let (q_at, p_at) = (at_q + line * along, at_p + line * along);
        let q = |i: usize| q_at + i * step;
        let p = |i: usize| p_at - (i + 1) * step;
        let (p0, p1) = (i32::from(plane[p(0)]), i32::from(plane[p(1)]));
        let (q0, q1) = (i32::from(plane[q(0)]), i32::from(plane[q(1)]));
        if !is_filtered([p1, p0, q0, q1], limits) {
            continue;
        }
        let (p2, q2) = (i32::from(plane[p(2)]), i32::from(plane[q(2)]));
        let (ap, aq) = ((p2 - p0).abs() < limits.beta, (q2 - q0).abs() < limits.beta);
        if strength < 4 {
            let clip = i32::from(limits.clip[usize::from(strength) - 1]);
            let reach = clip + i32::from(ap) + i32::from(aq);
            let delta = ((((q0 - p0) << 2) + (p1 - q1) + 4) >> 3).clamp(-reach, reach);
            plane[p(0)] = clamp(p0 + delta);
            plane[q(0)] = clamp(q0 - delta);
            let second = |far: i32, near: i32| {
                let delta = (far + ((p0 + q0 + 1) >> 1) - 2 * near) >> 1;
                (near + delta.clamp(-clip, clip)) as u8
            };
            if ap {
                plane[p(1)] = second(p2, p1);
            }
            if aq {
                plane[q(1)] = second(q2, q1);
            }
            continue;
        }
        let is_small = (p0 - q0).abs() < (limits.alpha >> 2) + 2;
        if ap && is_small {
            let p3 = i32::from(plane[p(3)]);
            plane[p(0)] = ((p2 + 2 * p1 + 2 * p0 + 2 * q0 + q1 + 4) >> 3) as u8;
            plane[p(1)] = ((p2 + p1 + p0 + q0 + 2) >> 2) as u8;
            plane[p(2)] = ((2 * p3 + 3 * p2 + p1 + p0 + q0 + 4) >> 3) as u8;
        } else {
            plane[p(0)] = ((2 * p1 + p0 + q1 + 2) >> 2) as u8;
        }
        if aq && is_small {
            let q3 = i32::from(plane[q(3)]);
            plane[q(0)] = ((p1 + 2 * p0 + 2 * q0 + 2 * q1 + q2 + 4) >> 3) as u8;
            plane[q(1)] = ((p0 + q0 + q1 + q2 + 2) >> 2) as u8;
            plane[q(2)] = ((2 * q3 + 3 * q2 + q1 + q0 + p0 + 4) >> 3) as u8;
        } else {
            plane[q(0)] = ((2 * q1 + q0 + p1 + 2) >> 2) as u8;
        }
    }
}

fn filter_chroma(
    plane: &mut [u8],
    (at_q, at_p): (usize, usize),
    (step, along): (usize, usize),
    strengths: Strengths,
    limits: Thresholds,
) {
    for line in 0..8 {
        let strength = strengths[line / 2];
        if strength == 0 {
            continue;
        }
        let (q_at, p_at) = (at_q + line * along, at_p + line * along);
        let p0 = i32::from(plane[p_at - step]);
        let p1 = i32::from(plane[p_at - 2 * step]);
        let (q0, q1) = (i32::from(plane[q_at]), i32::from(plane[q_at + step]));
        if !is_filtered([p1, p0, q0, q1], limits) {
            continue;
        }
        let (new_p, new_q) = if strength < 4 {
            let reach = i32::from(limits.clip[usize::from(strength) - 1]) + 1;
            let delta = ((((q0 - p0) << 2) + (p1 - q1) + 4) >> 3).clamp(-reach, reach);
            (clamp(p0 + delta), clamp(q0 - delta))
        } else {
            (
                ((2 * p1 + p0 + q1 + 2) >> 2) as u8,
                ((2 * q1 + q0 + p1 + 2) >> 2) as u8,
            )
        };
        plane[p_at - step] = new_p;
        plane[q_at] = new_q;
    }
}

/// Whether the step at an edge is small enough to be the quantiser's.
fn is_filtered([p1, p0, q0, q1]: [i32; 4], limits: Thresholds) -> bool {
    (p0 - q0).abs() < limits.alpha && (p1 - p0).abs() < limits.beta && (q1 - q0).abs() < limits.beta
}

fn clamp(value: i32) -> u8 {
    value.clamp(0, 255) as u8
}
