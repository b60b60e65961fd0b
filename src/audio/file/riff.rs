//! WAV (RIFF, RF64, BW64) and AIFF: where the sound begins and ends, whatever the header's sizes say.
//!
//! Programs that write to a pipe cannot know the sizes when they write the header, and many guess. What a size says is
//! therefore held against the file: where the bytes go on as samples, samples they are. Only a file whose sizes agree
//! with each other, and which is shorter than both, has been cut off.
//!
//! The decoder gets a header made anew, with the format chunk and the sound and nothing else.

use std::io;
use std::ops::Range;

use super::pieces;
use super::source::{Bytes, Window};

/// Chunks before the sound that are looked at.
const CHUNKS_MAX: usize = 4_096;
/// Marks of another file that are looked at.
const MARKS_MAX: usize = 1_000;
/// A format chunk is never longer than this; what is longer is cut.
const FORMAT_BYTES_MAX: u64 = 1_024;
/// No speech file says that it holds this much and lacks three quarters of it: the size was made up.
const CLAIM_BYTES_ABSURD: u64 = 256 << 20;
/// Chunks that follow the sound, by the first three letters of their names.
const TRAILERS: [&[u8]; 18] = [
    b"LIST", b"list", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"fact", b"PEAK", b"JUNK",
    b"junk", b"PAD ", b"iXML", b"_PMX", b"DISP", b"inst", b"axml", b"COMM",
];

/// `WAVE_FORMAT_*` of what is not decoded by the container's own reader: MPEG audio, layers 2 and 3.
const TAG_MPEG: u16 = 0x50;
const TAG_MP3: u16 = 0x55;
const TAG_PCM: u16 = 1;
const TAG_FLOAT: u16 = 3;
const TAG_ALAW: u16 = 6;
const TAG_MULAW: u16 = 7;
const TAG_EXTENSIBLE: u16 = 0xfffe;

/// A WAV or AIFF file, or one of several joined ones.
#[derive(Debug)]
pub(super) struct Riff {
    /// A header for the decoder.
    pub(super) head: Vec<u8>,
    /// The samples.
    pub(super) data: Range<u64>,
    /// Where the file ends and another may begin.
    pub(super) end: u64,
    pub(super) is_mpeg: bool,
    /// The codec, if it is one that is known and not read.
    pub(super) foreign_codec: Option<&'static str>,
    /// Frames of sound, where the format has a fixed number to the byte.
    pub(super) frames: Option<u64>,
    pub(super) claim: Claim,
}

/// What the header's size is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Claim {
    /// The sound is whole.
    Whole,
    /// The file ends before the sound does: seconds by the header, and those that are there.
    Cut { claimed_s: f64, got_s: f64 },
    /// Far more than the file holds; all that it holds is read.
    Absurd { claimed_s: f64 },
}

/// What is wrong with a header.
pub(super) enum HeaderError {
    Io(io::Error),
    Broken(&'static str),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Byte order and names of the two kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Wave,
    Aiff,
}

impl Kind {
    /// Whether `start`, 12 bytes, begins such a file.
    pub(super) fn begins(self, start: &[u8]) -> bool {
        let form = start.get(8..12).unwrap_or_default();
        match self {
            Self::Wave => {
                let names: [&[u8]; 3] = [b"RIFF", b"RF64", b"BW64"];
                names.iter().any(|name| start.starts_with(name)) && form == b"WAVE"
            }
            Self::Aiff => start.starts_with(b"FORM") && matches!(form, b"AIFF" | b"AIFC"),
        }
    }

    fn length(self, bytes: [u8; 4]) -> u64 {
        match self {
            Self::Wave => u32::from_le_bytes(bytes).into(),
            Self::Aiff => u32::from_be_bytes(bytes).into(),
        }
    }

    fn data_id(self) -> &'static [u8; 4] {
        match self {
            Self::Wave => b"data",
            Self::Aiff => b"SSND",
        }
    }

    fn format_id(self) -> &'static [u8; 4] {
        match self {
            Self::Wave => b"fmt ",
            Self::Aiff => b"COMM",
        }
    }
}

/// Reads the header at `at`.
pub(super) fn read(bytes: &Bytes, kind: Kind, at: u64) -> Result<Riff, HeaderError> {
    let chunks = Chunks::read(bytes, kind, at)?;
    let format = match kind {
        Kind::Wave => Format::wave(&chunks.format),
        Kind::Aiff => Format::aiff(&chunks.format),
    }
    .ok_or(HeaderError::Broken("its format chunk is broken"))?;
    let parent = Parent {
        start: at,
        end: at + 8 + chunks.parent,
    };
    let extent = extent(bytes, kind, &chunks, &parent, format.bytes_per_second())?;
    let data = chunks.data_start..extent.data_end;
    let length = data.end - data.start;
    let blocks = length / format.block_bytes;
    let frames = blocks * format.block_frames;
    // The fact chunk tells how many frames of the last block are sound.
    let padding = frames.saturating_sub(chunks.fact);
    let frames = if chunks.fact > 0 && padding < format.block_frames {
        frames - padding
    } else {
        frames
    };
    let head = match kind {
        Kind::Wave => wave_head(&format.chunk),
        Kind::Aiff => aiff_head(chunks.form, &format.chunk, blocks, length),
    };
    Ok(Riff {
        head,
        data,
        end: extent.end,
        foreign_codec: (kind == Kind::Wave).then(|| foreign(format.tag)).flatten(),
        is_mpeg: matches!(format.tag, TAG_MPEG | TAG_MP3),
        frames: (!matches!(format.tag, TAG_MPEG | TAG_MP3)).then_some(frames),
        claim: extent.claim,
    })
}

/// What the chunks up to the sound say.
struct Chunks {
    form: [u8; 4],
    /// Bytes that the whole file is said to hold behind its first eight.
    parent: u64,
    format: Vec<u8>,
    fact: u64,
    data_start: u64,
    /// Bytes of sound by the header.
    claimed: u64,
}

impl Chunks {
    fn read(bytes: &Bytes, kind: Kind, start: u64) -> Result<Self, HeaderError> {
        let broken = HeaderError::Broken;
        let first: [u8; 12] = bytes.array(start)?.ok_or(broken("it ends in its header"))?;
        let mut chunks = Self {
            form: [first[8], first[9], first[10], first[11]],
            parent: kind.length([first[4], first[5], first[6], first[7]]),
            format: Vec::new(),
            fact: 0,
            data_start: 0,
            claimed: 0,
        };
        let mut sizes = None;
        let mut at = start + 12;
        for _ in 0..CHUNKS_MAX {
            let Some(header) = bytes.array::<8>(at)? else {
                break;
            };
            let (id, length) = ([header[0], header[1], header[2], header[3]], &header[4..]);
            let length = kind.length([length[0], length[1], length[2], length[3]]);
            let body = at + 8;
            if &id == kind.format_id() {
                chunks.format = vec![0; length.min(FORMAT_BYTES_MAX) as usize];
                let count = bytes.read_at(body, &mut chunks.format)?;
                chunks.format.truncate(count);
                if chunks.data_start > 0 {
                    return Ok(chunks);
                }
            } else if &id == b"ds64" {
                sizes = bytes.array::<16>(body)?;
            } else if &id == b"fact" && length >= 4 {
                let count = bytes.array(body)?.unwrap_or_default();
                chunks.fact = u32::from_le_bytes(count).into();
            } else if &id == kind.data_id() {
                (chunks.data_start, chunks.claimed) = (body, length);
                if kind == Kind::Aiff {
                    // Its first eight bytes say how far in the sound begins.
                    let [a, b, c, d, ..] = bytes.array::<8>(body)?.unwrap_or_default();
                    let skip = 8 + u64::from(u32::from_be_bytes([a, b, c, d])).min(length);
                    chunks.data_start = (body + skip).min(bytes.len());
                    chunks.claimed = length.saturating_sub(skip);
                }
                if !chunks.format.is_empty() || body + length >= bytes.len() {
                    break;
                }
            }
            at = body + length + (length & 1);
        }
        if let Some(sizes) = sizes {
            chunks.take_64_bit_sizes(sizes);
        }
        match (chunks.format.is_empty(), chunks.data_start) {
            (true, _) => Err(broken("it has no format chunk before its sound")),
            (false, 0) => Err(broken("it has no sound chunk")),
            (false, _) => Ok(chunks),
        }
    }

    /// The sizes of RF64, which count where the 32-bit ones are all ones.
    fn take_64_bit_sizes(&mut self, sizes: [u8; 16]) {
        let (parent, data) = sizes.split_at(8);
        let read = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |all, b| all << 8 | u64::from(*b))
        };
        let unknown = u64::from(u32::MAX);
        if self.parent == unknown {
            self.parent = read(parent).min(1 << 62);
        }
        if self.claimed == unknown {
            self.claimed = read(data).min(1 << 62);
        }
    }
}

/// What the whole file's size says.
struct Parent {
    start: u64,
    end: u64,
}

struct Extent {
    data_end: u64,
    end: u64,
    claim: Claim,
}

/// Holds what the header says of the sound's length against the file.
fn extent(
    bytes: &Bytes,
    kind: Kind,
    chunks: &Chunks,
    parent: &Parent,
    bytes_per_second: f64,
) -> io::Result<Extent> {
    let (start, claimed) = (chunks.data_start, chunks.claimed);
    let claimed_end = start.saturating_add(claimed);
    if claimed > 0 && claimed_end <= bytes.len() {
        let padded = claimed_end + (claimed & 1);
        for after in [padded, claimed_end] {
            if let Some(end) = trailer_end(bytes, kind, after)? {
                return Ok(Extent {
                    data_end: claimed_end,
                    end,
                    claim: Claim::Whole,
                });
            }
        }
    }
    // Not what follows a sound: the size is not true. Another whole file behind this one has its mark in the bytes.
    let next = next_file(bytes, kind, start)?;
    let end = next.unwrap_or(bytes.len());
    let present = end - start;
    let seconds = |count: u64| count as f64 / bytes_per_second;
    let claim = if claimed <= present {
        Claim::Whole
    } else {
        // A size of nothing, or of less than the header, says nothing.
        let parent_speaks = parent.end > start && parent.end > parent.start + 12;
        let past_parent = parent_speaks && claimed_end > parent.end + 1;
        let whole_by_parent = parent_speaks && parent.end.abs_diff(end) <= 8;
        let slight = seconds(claimed - present) <= 0.01;
        let absurd = claimed >= CLAIM_BYTES_ABSURD && claimed / 4 >= present;
        if past_parent || whole_by_parent || slight {
            Claim::Whole
        } else if absurd && parent_speaks {
            Claim::Absurd {
                claimed_s: seconds(claimed),
            }
        } else if absurd {
            Claim::Whole
        } else {
            Claim::Cut {
                claimed_s: seconds(claimed),
                got_s: seconds(present),
            }
        }
    };
    Ok(Extent {
        data_end: end,
        end,
        claim,
    })
}

/// Where the next file begins that has all its chunks.
fn next_file(bytes: &Bytes, kind: Kind, mut from: u64) -> io::Result<Option<u64>> {
    let mut window = Window::new(bytes);
    for _ in 0..MARKS_MAX {
        let mark = window.find(from, bytes.len(), 16, |start| {
            kind.begins(start) && start[12..].iter().all(u8::is_ascii_graphic_or_space)
        })?;
        match mark.map(|mark| (mark, Chunks::read(bytes, kind, mark))) {
            None => break,
            Some((mark, Ok(_))) => return Ok(Some(mark)),
            Some((_, Err(HeaderError::Io(error)))) => return Err(error),
            Some((mark, Err(HeaderError::Broken(_)))) => from = mark + 1,
        }
    }
    Ok(None)
}

/// Where the chunks or tags at `at` end, if that is what stands there: at the file's end or where another file begins.
fn trailer_end(bytes: &Bytes, kind: Kind, at: u64) -> io::Result<Option<u64>> {
    let mut at = at;
    let mut known = false;
    for _ in 0..CHUNKS_MAX {
        if at >= bytes.len() {
            return Ok(Some(bytes.len()));
        }
        let (start, count) = bytes.peek::<8>(at)?;
        if pieces::begins(bytes, at)? {
            return Ok(Some(at));
        }
        let length = kind.length([start[4], start[5], start[6], start[7]]);
        let end = at + 8 + length;
        let is_name = count >= 8 && start[..4].iter().all(u8::is_ascii_graphic_or_space);
        known |= is_name && TRAILERS.contains(&&start[..4]);
        if !is_name || end > bytes.len() {
            // A chunk that is cut off, or rubbish behind one, is no sound.
            return Ok(known.then_some(bytes.len()));
        }
        at = end + (length & 1);
    }
    Ok(Some(bytes.len()))
}

/// What `u8` lacks.
trait Graphic {
    fn is_ascii_graphic_or_space(&self) -> bool;
}

impl Graphic for u8 {
    fn is_ascii_graphic_or_space(&self) -> bool {
        self.is_ascii_graphic() || *self == b' '
    }
}

/// A format chunk, as far as sizes depend on it, and as the decoder likes it.
struct Format {
    tag: u16,
    rate_hz: u32,
    block_bytes: u64,
    block_frames: u64,
    /// Bytes a second by the header, for formats without fixed blocks.
    average: u32,
    chunk: Vec<u8>,
}

impl Format {
    fn bytes_per_second(&self) -> f64 {
        match self.tag {
            TAG_MPEG | TAG_MP3 => f64::from(self.average.max(1)),
            _ => {
                let blocks = f64::from(self.rate_hz.max(1)) / self.block_frames as f64;
                blocks * self.block_bytes as f64
            }
        }
    }

    fn wave(chunk: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(u16::from_le_bytes(*chunk.get(at..)?.first_chunk()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(*chunk.get(at..)?.first_chunk()?));
        let tag = u16_at(0)?;
        let channels = u64::from(u16_at(2)?).max(1);
        let align = u64::from(u16_at(12)?);
        let bits = u64::from(u16_at(14)?);
        let sample_bytes = channels * (bits / 8).max(1);
        let (block_bytes, block_frames) = match tag {
            // Coded in blocks: 4 bits a sample behind a header that holds one or two samples.
            0x11 => (
                align.max(1),
                (align.saturating_sub(4 * channels) * 2 / channels + 1).max(1),
            ),
            2 => (
                align.max(1),
                (align.saturating_sub(7 * channels) * 2 / channels + 2).max(1),
            ),
            _ => (sample_bytes, 1),
        };
        // Longer and shorter chunks than the standard's occur; what is beyond says nothing for these formats.
        let mut own = chunk.to_vec();
        match tag {
            TAG_PCM | TAG_FLOAT => own.truncate(16),
            TAG_ALAW | TAG_MULAW => {
                own.truncate(16);
                own.extend([0, 0]);
            }
            TAG_EXTENSIBLE => own.truncate(40),
            _ => {}
        }
        Some(Self {
            tag,
            rate_hz: u32_at(4)?,
            block_bytes,
            block_frames,
            average: u32_at(8)?,
            chunk: own,
        })
    }

    fn aiff(chunk: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(u16::from_be_bytes(*chunk.get(at..)?.first_chunk()?));
        let bits = match chunk.get(18..22) {
            Some(b"ulaw" | b"ULAW" | b"alaw" | b"ALAW") => 8,
            _ => u64::from(u16_at(6)?),
        };
        // An 80-bit float; rates are whole numbers below 2^31.
        let exponent = u16_at(8)? & 0x7fff;
        let mantissa = u64::from_be_bytes(*chunk.get(10..)?.first_chunk()?);
        let shift = 16_383u16.checked_add(63)?.checked_sub(exponent)?;
        let rate_hz = mantissa.checked_shr(shift.into()).unwrap_or(0) as u32;
        Some(Self {
            tag: TAG_PCM,
            rate_hz,
            block_bytes: u64::from(u16_at(0)?).max(1) * bits.div_ceil(8).max(1),
            block_frames: 1,
            average: 0,
            chunk: chunk.to_vec(),
        })
    }
}

/// The codec of a `WAVE_FORMAT_*` that is not read.
fn foreign(tag: u16) -> Option<&'static str> {
    Some(match tag {
        0x22 => "TrueSpeech",
        0x31 => "GSM 6.10",
        0x14 | 0x40 | 0x45 | 0x64 | 0x85 => "G.726",
        0x42 | 0x111 => "G.723",
        0x65 | 0x28f => "G.722",
        0x83 | 0x133 => "G.729",
        0x92 | 0x2000 => "AC-3",
        0xff | 0x1600 | 0x1610 | 0xa106 => "AAC",
        0x160..=0x163 => "Windows Media Audio",
        0x2001 => "DTS",
        0x674f..=0x6771 => "Vorbis",
        0xf1ac => "FLAC",
        _ => return None,
    })
}

/// A header that ends where the sound begins. The sizes say "unknown": the sound ends with the bytes.
fn wave_head(format: &[u8]) -> Vec<u8> {
    let mut head = b"RIFF\xff\xff\xff\xffWAVEfmt ".to_vec();
    head.extend((format.len() as u32).to_le_bytes());
    head.extend(format);
    if format.len() % 2 == 1 {
        head.push(0);
    }
    head.extend(b"data\xff\xff\xff\xff");
    head
}

/// A header that ends where the sound begins, with the counts of what is there.
fn aiff_head(form: [u8; 4], format: &[u8], blocks: u64, data: u64) -> Vec<u8> {
    let mut format = format.to_vec();
    if let Some(count) = format.get_mut(2..6) {
        count.copy_from_slice(&(blocks as u32).to_be_bytes());
    }
    let padded = format.len() + format.len() % 2;
    // An AIFF's sizes have 32 bits: none holds more.
    let data = data.min(u64::from(u32::MAX) - 8 - 24 - padded as u64) as u32;
    let mut head = b"FORM".to_vec();
    head.extend((data + 28 + padded as u32).to_be_bytes());
    head.extend(form);
    head.extend(b"COMM");
    head.extend((format.len() as u32).to_be_bytes());
    head.extend(&format);
    head.resize(20 + padded, 0);
    head.extend(b"SSND");
    head.extend((data + 8).to_be_bytes());
    head.extend([0; 8]);
    head
}
