//! What is done once for each background.

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};

use super::adler::Sums;
use super::band::{Band, Surroundings, cut_surroundings, for_each_hole};
use super::bits::Code;
use super::chunk;
use super::filter::{FILTERS, Filter, PIXEL, filter, magnitude};
use super::plan::Plan;
use super::prepared::{Pieces, PreparedPng, STREAM_BYTES_MAX};
use crate::frame::{Frame, Rect};

/// How much work goes into the smallest file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Effort {
    /// One choice of filters and a short search.
    Quick,
    /// Several choices of filters, the best of which is kept for each part, and a longer search.
    #[default]
    Thorough,
}

/// Levels of deflate: the quickest one whose files are not much larger, and the one that the figures favour.
const LEVEL_QUICK: u32 = 3;
const LEVEL_THOROUGH: u32 = 6;

/// How the filter of each row is chosen.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// The same for all.
    Always(Filter),
    /// The one with the smallest residuals.
    Smallest,
}

/// Rows of the stream.
struct Filtered {
    stream: Vec<u8>,
    filters: Vec<u8>,
}

impl Effort {
    fn rules(self) -> &'static [Rule] {
        match self {
            Self::Quick => &[Rule::Smallest],
            Self::Thorough => &[Rule::Smallest, Rule::Always(Filter::Up)],
        }
    }
}

impl PreparedPng {
    /// Does for `frame` what all its frames share: tens of milliseconds of CPU, more with more effort.
    ///
    /// The code for the rectangle's pixels is made for what `representative` shows, packed RGB8 of the rectangle: one
    /// real output of the network is best. Without it the frame's own pixels and a guess stand in; frames are then a
    /// few percent larger, but as correct.
    ///
    /// # Panics
    /// If the rectangle does not lie inside the frame, `representative` is not of its size, or the frame is larger
    /// than a gibibyte.
    #[must_use]
    pub fn prepare(
        frame: &Frame,
        rect: Rect,
        representative: Option<&[u8]>,
        effort: Effort,
    ) -> Self {
        prepare(frame, rect, representative, effort)
    }
}

fn prepare(
    frame: &Frame,
    rect: Rect,
    representative: Option<&[u8]>,
    effort: Effort,
) -> PreparedPng {
    let band = Band::new(frame.size(), rect).expect("a rectangle inside the frame");
    assert!(
        band.stream_bytes() <= STREAM_BYTES_MAX,
        "frame of {}",
        frame.size()
    );
    let (top, bottom, height) = (band.top(), band.bottom(), frame.size().height as usize);
    let variants: Vec<Filtered> = effort
        .rules()
        .iter()
        .map(|&rule| filter_rows(frame, rule))
        .collect();
    let row = band.row_bytes();
    let mut sums = Sums::zeros(band.stream_bytes());

    // Each part takes the filters that suit it: no part depends on another's.
    let smallest = |from: usize, to: usize| {
        let part = |filtered: &'_ Filtered| filtered.stream[from * row..to * row].to_vec();
        match &variants[..] {
            [only] => part(only),
            all => {
                let parts = all.iter().map(part);
                let quick = |part: &Vec<u8>| deflate(part, LEVEL_QUICK, FlushCompress::Sync).len();
                parts.min_by_key(quick).expect("a rule")
            }
        }
    };
    let above = smallest(0, top);
    let below = smallest(bottom, height);
    sums.add(&above, band.stream_bytes() - above.len() as u64);
    sums.add(&below, 0);

    let cut = cut_surroundings(band, frame);
    let plans = variants.iter().map(|filtered| {
        let rows = &filtered.stream[top * row..bottom * row];
        let filters = &filtered.filters[top..bottom];
        let changed = residuals(band, surroundings(&cut, filters), frame, representative);
        (Plan::new(band, &above, rows, filters, &changed), changed)
    });
    let (mut plan, changed) = plans
        .min_by_key(|(plan, _)| plan.cost_bits())
        .expect("a rule");
    if effort == Effort::Thorough {
        plan = plan.refine(&changed);
    }
    let level = match effort {
        Effort::Quick => LEVEL_QUICK,
        Effort::Thorough => LEVEL_THOROUGH,
    };
    let head = head(frame, &deflate(&above, level, FlushCompress::Sync));
    let tail = tail(&deflate(&below, level, FlushCompress::Finish));
    plan.add_fixed(band, &mut sums);
    let (strings, run_bits) = plan.strings();
    let literals: &[Code; 256] = plan.codes.literals.first_chunk().expect("286 codes");
    let pieces = Pieces {
        band,
        sums,
        codes: literals,
        run_bits: &run_bits,
        around: surroundings(&cut, &plan.filters),
        strings: &strings,
        head: &head,
        tail: &tail,
    };
    PreparedPng::from_bytes(Bytes::from(pieces.to_bytes())).expect("what was just written")
}

/// Signature, header and the rows above the band.
fn head(frame: &Frame, deflated: &[u8]) -> Vec<u8> {
    /// RGB of 8 bits, no interlacing.
    const KIND: [u8; 5] = [8, 2, 0, 0, 0];
    /// Deflate with a window of 32 KiB, the default effort; the second byte makes it a multiple of 31.
    const ZLIB: [u8; 2] = [0x78, 0x9c];
    let (width, height) = (
        frame.size().width.to_be_bytes(),
        frame.size().height.to_be_bytes(),
    );
    let mut out = chunk::SIGNATURE.to_vec();
    chunk::push(&mut out, *b"IHDR", &[&width[..], &height, &KIND].concat());
    chunk::push(&mut out, *b"IDAT", &[&ZLIB, deflated].concat());
    out
}

/// The rows below the band, and the end of the deflate stream.
fn tail(deflated: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(deflated.len() + chunk::OVERHEAD);
    chunk::push(&mut out, *b"IDAT", deflated);
    out
}

/// Raw deflate of `stream`, ended as `flush` says; nothing for nothing that does not end the stream.
fn deflate(stream: &[u8], level: u32, flush: FlushCompress) -> Vec<u8> {
    if stream.is_empty() && flush != FlushCompress::Finish {
        return Vec::new();
    }
    let mut state = Compress::new(Compression::new(level), false);
    let mut out = Vec::with_capacity(stream.len() / 2 + 1024);
    loop {
        let taken = state.total_in() as usize;
        state
            .compress_vec(&stream[taken..], &mut out, flush)
            .expect("deflate refuses nothing");
        // All is out once room is left over.
        if out.len() < out.capacity() {
            return out;
        }
        out.reserve(out.capacity());
    }
}

/// All rows of a frame as PNG's stream has them.
fn filter_rows(frame: &Frame, rule: Rule) -> Filtered {
    let row_bytes = PIXEL * frame.size().width as usize;
    let mut above = vec![0; PIXEL + row_bytes];
    let mut line = above.clone();
    let mut trial = vec![0; row_bytes];
    let mut best = vec![0; row_bytes];
    let mut filtered = Filtered {
        stream: Vec::with_capacity((1 + row_bytes) * frame.size().height as usize),
        filters: Vec::with_capacity(frame.size().height as usize),
    };
    for y in 0..frame.size().height {
        line[PIXEL..].copy_from_slice(frame.row(y));
        let chosen = match rule {
            Rule::Always(kind) => {
                filter(kind, &above, &line, &mut best);
                kind
            }
            Rule::Smallest => {
                let mut chosen = (u64::MAX, Filter::None);
                for kind in FILTERS {
                    filter(kind, &above, &line, &mut trial);
                    let size = magnitude(&trial);
                    if size < chosen.0 {
                        chosen = (size, kind);
                        std::mem::swap(&mut trial, &mut best);
                    }
                }
                chosen.1
            }
        };
        filtered.filters.push(chosen as u8);
        filtered.stream.push(chosen as u8);
        filtered.stream.extend_from_slice(&best);
        std::mem::swap(&mut above, &mut line);
    }
    filtered
}

fn surroundings<'a>(cut: &'a [Vec<u8>; 4], filters: &'a [u8]) -> Surroundings<'a> {
    let [above, left, right, below] = cut;
    Surroundings {
        above,
        left,
        right,
        below,
        filters,
    }
}

/// How often each byte is to be expected in the holes.
fn residuals(
    band: Band,
    around: Surroundings<'_>,
    frame: &Frame,
    representative: Option<&[u8]>,
) -> [u32; 256] {
    let mut counts = [0_u32; 256];
    let mut count = |patch: &[u8]| {
        for_each_hole(band, around, patch, |_, residuals| {
            for &byte in residuals {
                counts[byte as usize] += 1;
            }
        });
    };
    if let Some(patch) = representative {
        count(patch);
        return counts;
    }
    let rect = band.rect();
    let (x, width) = (
        PIXEL * rect.x1() as usize,
        PIXEL * rect.size().width as usize,
    );
    let rows = (rect.y1()..rect.y2()).map(|y| &frame.row(y)[x..][..width]);
    count(&rows.collect::<Vec<_>>().concat());
    widen(&mut counts);
    counts
}

/// Mixes what the original pixels gave with a Laplace distribution somewhat wider: a network's output is never as
/// smooth as a drawing, nor as rough as a photograph.
fn widen(counts: &mut [u32; 256]) {
    const WIDTH_MIN: f64 = 2.0;
    let total: f64 = counts.iter().copied().map(f64::from).sum();
    let size = |byte: usize| f64::from((byte as u8).cast_signed().unsigned_abs());
    let sizes = counts.iter().enumerate();
    let sum: f64 = sizes.map(|(byte, &n)| f64::from(n) * size(byte)).sum();
    let width = (sum / total.max(1.0)).max(WIDTH_MIN);
    let density = |byte: usize| (-size(byte) / width).exp();
    let whole: f64 = (0..256).map(density).sum();
    for (byte, count) in counts.iter_mut().enumerate() {
        *count = f64::from(*count).midpoint(total * density(byte) / whole) as u32;
    }
}
