//! Which pictures are keys, and which macroblocks of each group of pictures are encoded per frame.
//!
//! Frames are endless, what they show is not: behind a beginning that is passed once comes a cycle that is passed again
//! and again. Both are cut into groups that begin with a key picture. A group's hole is the smallest rectangle of whole
//! macroblocks around the rects of all its frames.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::codec::header::Stream;
use super::codec::layout::{Layout, MbRect, MbSize, Runs};
use super::{H264Error, Options, base, group};
use crate::avatar::Sequence;
use crate::frame::{Rect, Size};

/// Changes whenever prepared pictures would come out differently, or be stored differently.
const FORM_VERSION: u32 = 1;

/// Groups of an avatar's frames.
#[derive(Debug)]
pub struct Plan {
    size: Size,
    fps: u32,
    level: u8,
    whole: Layout,
    groups: Vec<Group>,
    /// Positions before the cycle, and the cycle's.
    beginning: u64,
    cycle: u64,
    sequence: Sequence,
    rects: Vec<Rect>,
    /// By background, the groups that show it.
    shown: Vec<Vec<u32>>,
}

/// A key picture and those up to the next.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) positions: Range<u64>,
    /// Slices of what is encoded once: a layout of them is large, and needed only while they are encoded.
    pub(super) around: Runs,
    /// Slices of what is encoded per frame.
    pub(super) inside: Layout,
    /// In the order of a picture's slices, whether it is one of `inside`.
    pub(super) order: Vec<bool>,
}

/// A frame's place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The group, and the place in it; 0 is a key picture.
    pub group: usize,
    /// Pictures since the group's key.
    pub number: u32,
    /// The background shown.
    pub background: usize,
}

impl Position {
    /// Whether decoders can start here.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.number == 0
    }
}

impl Plan {
    /// A plan for backgrounds of `size` with these rects.
    ///
    /// # Errors
    /// If H.264 cannot hold such pictures.
    ///
    /// # Panics
    /// If there is no rect, or one does not lie inside: avatars check theirs when they load.
    pub fn new(
        size: Size,
        rects: &[Rect],
        sequence: Sequence,
        options: &Options,
    ) -> Result<Self, H264Error> {
        assert!(rects.iter().all(|rect| rect.fits(size)), "a rect outside");
        let level = level(size, options.fps)?;
        let count = rects.len() as u64;
        let (beginning, round) = match sequence {
            Sequence::PingPong => (0, (2 * (count - 1)).max(1)),
            Sequence::Wrap => (0, count),
            Sequence::Clamp => (count, 1),
        };
        let group = u64::from(options.group_frames.max(1));
        // A cycle of an even number of groups: then the keys of two that follow one another always differ.
        let cycle = round * (2 * group / round).max(1);
        let groups = u64::max(2, (cycle.div_ceil(group)).next_multiple_of(2));
        let mbs = MbSize::of(size);
        let mut plan = Self {
            size,
            fps: options.fps,
            level,
            whole: Layout::whole(mbs),
            groups: Vec::new(),
            beginning,
            cycle,
            sequence,
            rects: rects.to_vec(),
            shown: vec![Vec::new(); rects.len()],
        };
        let mut starts = cut(0, beginning, beginning.div_ceil(group));
        starts.extend(cut(beginning, cycle, groups.min(cycle)));
        starts.push(beginning + cycle);
        for pair in starts.windows(2) {
            let positions = pair[0]..pair[1];
            let index = plan.groups.len() as u32;
            let mut hole: Option<MbRect> = None;
            for at in positions.clone() {
                let background = sequence.background(at, rects.len());
                let rect = in_macroblocks(rects[background]);
                hole = Some(hole.map_or(rect, |hole| hole.union(rect)));
                if plan.shown[background].last() != Some(&index) {
                    plan.shown[background].push(index);
                }
            }
            let hole = hole.expect("a group is not empty");
            plan.groups
                .push(Group::new(positions, mbs, hole, options.slices_max));
        }
        Ok(plan)
    }

    /// Where frame `k` is.
    #[must_use]
    pub fn position(&self, k: u64) -> Position {
        let at = match k.checked_sub(self.beginning) {
            Some(beyond) => self.beginning + beyond % self.cycle,
            None => k,
        };
        let group = self
            .groups
            .partition_point(|group| group.positions.end <= at);
        Position {
            group,
            number: (at - self.groups[group].positions.start) as u32,
            background: self.sequence.background(at, self.rects.len()),
        }
    }

    /// The first frame from `k` on that decoders can start at.
    #[must_use]
    pub fn next_key(&self, k: u64) -> u64 {
        let position = self.position(k);
        if position.is_key() {
            return k;
        }
        let positions = &self.groups[position.group].positions;
        let left = positions.end - positions.start - u64::from(position.number);
        k.saturating_add(left)
    }

    /// How many groups there are.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Backgrounds of a group, in the order in which they are shown.
    pub fn backgrounds(&self, group: usize) -> impl Iterator<Item = usize> + '_ {
        let positions = self.groups[group].positions.clone();
        positions.map(|at| self.sequence.background(at, self.rects.len()))
    }

    /// Backgrounds of a group, each once.
    pub fn group_backgrounds(&self, group: usize) -> impl Iterator<Item = usize> + '_ {
        let mut seen = HashSet::new();
        self.backgrounds(group).filter(move |b| seen.insert(*b))
    }

    /// Width and height of a picture.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// The rect of a background.
    #[must_use]
    pub fn rect(&self, background: usize) -> Rect {
        self.rects[background]
    }

    /// Numbers that a group's prepared form depends on, besides the pictures: equal for equal forms only.
    #[must_use]
    pub fn fingerprint(&self, group: usize) -> Vec<u8> {
        let mut numbers = vec![
            FORM_VERSION,
            self.size.width,
            self.size.height,
            self.fps,
            u32::from(self.level),
            group as u32,
        ];
        for group in &self.groups {
            let inside = group.inside.runs();
            numbers.extend([group.positions.start as u32, group.order.len() as u32]);
            for run in group.around.iter().cloned().chain(inside) {
                numbers.extend([run.start, run.end]);
            }
        }
        for background in self.backgrounds(group) {
            let rect = self.rects[background];
            numbers.extend([rect.x1(), rect.y1(), rect.x2(), rect.y2()]);
        }
        numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    /// Bytes of memory that all groups take when prepared, if their pictures take no more than `bits_per_second`.
    #[must_use]
    pub fn memory_bytes_max(&self, bits_per_second: u64) -> usize {
        let pictures = self.beginning + self.cycle;
        let bytes = pictures * bits_per_second / 8 / u64::from(self.fps);
        // Many backgrounds are shown by the same groups.
        let mut known: HashMap<&[u32], usize> = HashMap::new();
        let bases: usize = (0..self.rects.len())
            .map(|background| {
                let places = *known
                    .entry(&self.shown[background])
                    .or_insert_with(|| self.live_addresses(background).len());
                base::memory_bytes(places, self.rects[background])
            })
            .sum();
        let groups = pictures as usize * group::PICTURE_BYTES;
        bases + groups + bytes as usize
    }

    /// The macroblocks that are encoded per frame in any group that shows a background, rising.
    pub(super) fn live_addresses(&self, background: usize) -> Vec<u32> {
        let groups = self.shown[background].iter();
        let mut addresses: Vec<u32> = groups
            .flat_map(|group| &self.groups[*group as usize].inside.places)
            .map(|place| place.address)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// What the key pictures of a group are told apart by: no two groups have the same.
    pub(super) fn key_id(group: usize) -> u32 {
        group as u32 % KEY_IDS
    }

    /// Likewise of a key picture that belongs to no group; `turn` is another for each.
    pub(super) fn free_key_id(&self, turn: u32) -> u32 {
        (self.groups.len() as u32).min(KEY_IDS) + turn % 2
    }

    /// All macroblocks in one slice.
    pub(super) fn whole(&self) -> &Layout {
        &self.whole
    }

    pub(super) fn mb_size(&self) -> MbSize {
        self.stream(0).mb_size()
    }

    pub(super) fn group(&self, group: usize) -> &Group {
        &self.groups[group]
    }

    pub(super) fn stream(&self, qp: u8) -> Stream {
        Stream {
            size: self.size,
            fps: self.fps,
            qp,
            level: self.level,
        }
    }
}

/// The format has 65536, of which two are left free; two keys that follow one another must differ.
const KEY_IDS: u32 = 65_000;

/// The first of each of `parts` parts of about equal length.
fn cut(start: u64, length: u64, parts: u64) -> Vec<u64> {
    (0..parts)
        .map(|part| start + part * length / parts)
        .collect()
}

/// The macroblocks that `rect` touches.
fn in_macroblocks(rect: Rect) -> MbRect {
    MbRect {
        x0: rect.x1() / 16,
        y0: rect.y1() / 16,
        x1: rect.x2().div_ceil(16),
        y1: rect.y2().div_ceil(16),
    }
}

impl Group {
    fn new(positions: Range<u64>, mbs: MbSize, hole: MbRect, slices_max: usize) -> Self {
        let live = live_runs(mbs, hole, slices_max);
        let mut order = Vec::new();
        let mut around: Runs = Vec::new();
        let mut from = 0;
        for run in &live {
            if run.start > from {
                around.push(from..run.start);
                order.push(false);
            }
            order.push(true);
            from = run.end;
        }
        if from < mbs.count() {
            around.push(from..mbs.count());
            order.push(false);
        }
        Self {
            positions,
            around,
            inside: Layout::inside(mbs, hole, &live),
            order,
        }
    }
}

/// The hole's rows as runs of macroblocks, neighbouring rows joined, with what lies between them, as far as `slices_max`
/// slices a picture demand it.
fn live_runs(mbs: MbSize, hole: MbRect, slices_max: usize) -> Runs {
    let rows = hole.height();
    let run = |from: u32, to: u32| {
        (hole.y0 + from) * mbs.width + hole.x0..(hole.y0 + to - 1) * mbs.width + hole.x1
    };
    let is_wide = hole.width() == mbs.width;
    let first = hole.x0 + hole.y0 > 0;
    let last = hole.x1 < mbs.width || hole.y1 < mbs.height;
    let slices = |runs: u32| {
        let between = if is_wide { 0 } else { runs - 1 };
        (runs + between) as usize + usize::from(first) + usize::from(last)
    };
    let runs = (1..=rows).rev().find(|runs| slices(*runs) <= slices_max);
    let runs = runs.unwrap_or(1);
    // The upper runs have the rows that are over: above a mouth is what moves least.
    let (each, over) = (rows / runs, rows % runs);
    (0..runs)
        .scan(0, |from, index| {
            let to = *from + each + u32::from(index < over);
            Some(run(std::mem::replace(from, to), to))
        })
        .collect()
}

/// Levels as their number times ten, with the macroblocks a second and a picture that they allow (table A-1). Those
/// below 3.0 save decoders nothing today.
const LEVELS: [(u8, u64, u32); 9] = [
    (30, 40_500, 1_620),
    (31, 108_000, 3_600),
    (32, 216_000, 5_120),
    (40, 245_760, 8_192),
    (42, 522_240, 8_704),
    (50, 589_824, 22_080),
    (51, 983_040, 36_864),
    (52, 2_073_600, 36_864),
    (60, 4_177_920, 139_264),
];

/// The lowest level for pictures of `size`.
fn level(size: Size, fps: u32) -> Result<u8, H264Error> {
    let (width, height) = (size.width.div_ceil(16), size.height.div_ceil(16));
    let fits = |(_, rate, count): &&(u8, u64, u32)| {
        let side = u64::from(width.max(height));
        let area = u64::from(width) * u64::from(height);
        // No side is longer than the root of eight times the area.
        area <= u64::from(*count)
            && side * side <= 8 * u64::from(*count)
            && area * u64::from(fps) <= *rate
    };
    match LEVELS.iter().find(fits) {
        Some((level, ..)) if size.width > 0 && size.height > 0 && (1..=60).contains(&fps) => {
            Ok(*level)
        }
        _ => Err(H264Error::Picture { size, fps }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(group_frames: u32, slices_max: usize) -> Options {
        Options {
            fps: 25,
            group_frames,
            slices_max,
        }
    }

    const HD: Size = Size {
        width: 1280,
        height: 720,
    };

    fn plan(rects: &[(u32, u32, u32, u32)], sequence: Sequence, options: &Options) -> Plan {
        let rects: Vec<_> = rects
            .iter()
            .map(|&(a, b, c, d)| Rect::new(a, b, c, d).unwrap())
            .collect();
        Plan::new(HD, &rects, sequence, options).unwrap()
    }

    #[test]
    fn every_frame_shows_what_the_sequence_says() {
        for count in [1, 2, 3, 7, 30, 100, 101] {
            let rects = vec![(530, 310, 712, 492); count];
            for sequence in [Sequence::PingPong, Sequence::Wrap, Sequence::Clamp] {
                let plan = plan(&rects, sequence, &options(50, 31));
                let mut before: Option<Position> = None;
                for k in (0..400).chain(u64::MAX - 300..=u64::MAX) {
                    let position = plan.position(k);
                    assert_eq!(position.background, sequence.background(k, count));
                    // Keys follow one another at a distance, and their numbers alternate.
                    if let Some(before) = before.replace(position)
                        && k != u64::MAX - 300
                    {
                        if position.is_key() {
                            assert_ne!(before.group % 2, position.group % 2, "{count} {k}");
                        } else {
                            assert_eq!(position.group, before.group);
                            assert_eq!(position.number, before.number + 1);
                        }
                    }
                }
                let shortest = plan
                    .groups
                    .iter()
                    .map(|g| g.positions.end - g.positions.start);
                let shortest = shortest.min().unwrap();
                assert!(
                    shortest >= 25.min(count as u64),
                    "{count} {sequence:?}: {shortest}"
                );
            }
        }
    }

    #[test]
    fn the_next_key_is_the_next() {
        let plan = plan(
            &[(530, 310, 712, 492); 100],
            Sequence::PingPong,
            &options(50, 31),
        );
        for k in 0..500 {
            let key = plan.next_key(k);
            assert!((k..key).all(|k| !plan.position(k).is_key()));
            assert!(plan.position(key).is_key());
        }
    }

    #[test]
    fn slices_stay_within_the_limit_and_hold_every_macroblock_once() {
        for rect in [
            (512, 304, 768, 560),
            (0, 0, 1280, 720),
            (0, 0, 300, 300),
            (980, 420, 1280, 720),
            (0, 300, 1280, 400),
            (600, 0, 700, 720),
            (3, 3, 5, 5),
        ] {
            for slices_max in [1, 3, 4, 31, 200] {
                let plan = plan(&[rect], Sequence::Wrap, &options(50, slices_max));
                let group = plan.group(0);
                assert!(group.order.len() <= slices_max.max(3));
                let layout = Layout::around(MbSize::of(HD), &group.around);
                let (mut around, mut inside) = (layout.places.iter(), group.inside.places.iter());
                let (mut runs, mut live) = (layout.slices.iter(), group.inside.slices.iter());
                let mut next = 0;
                for is_live in &group.order {
                    let (run, places) = if *is_live {
                        (live.next(), &mut inside)
                    } else {
                        (runs.next(), &mut around)
                    };
                    for _ in run.unwrap().clone() {
                        assert_eq!(places.next().unwrap().address, next);
                        next += 1;
                    }
                }
                assert_eq!(next, 80 * 45, "{rect:?} {slices_max}");
            }
        }
        let plan = plan(&[(512, 304, 768, 560)], Sequence::Wrap, &options(50, 31));
        assert_eq!(plan.group(0).order.len(), 31);
    }

    #[test]
    fn levels_are_those_of_the_table() {
        let level = |width, height, fps| level(Size { width, height }, fps).ok();
        assert_eq!(level(1280, 720, 25), Some(31));
        assert_eq!(level(1280, 720, 60), Some(32));
        assert_eq!(level(1920, 1080, 25), Some(40));
        assert_eq!(level(1920, 1080, 60), Some(42));
        assert_eq!(level(3840, 2160, 30), Some(51));
        assert_eq!(level(2, 2, 1), Some(30));
        assert_eq!(level(20_000, 20_000, 25), None);
        assert_eq!(level(1280, 720, 61), None);
        assert_eq!(level(1280, 720, 0), None);
    }
}
