//! MPEG audio (MP1, MP2, MP3) and AAC in ADTS: walks from frame to frame, so that what a header says of the whole file's
//! length is never needed, and files joined one after another are told apart.

use std::io;

use super::source::{Bytes, Window};

/// The decoder's own delay in samples, which encoders leave out of theirs.
const DECODER_DELAY: u64 = 529;
/// Frames in a row that make a stream out of bytes that might be anything.
const FRAMES_CERTAIN: usize = 4;

/// Kilobits a second: MPEG-1 layers 1 to 3, MPEG-2 layer 1, MPEG-2 layers 2 and 3.
const KBITS: [[u32; 15]; 5] = [
    [
        0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
    ],
    [
        0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
    ],
    [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ],
    [
        0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
    ],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
const ADTS_RATES_HZ: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// One frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// What does not change within one stream: codec, rate and channels.
    pub(super) stream: Stream,
    bytes: u64,
    samples: u64,
    /// Bytes of the header and side information, behind which an Info tag stands.
    tag_at: usize,
}

/// What does not change within one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) rate_hz: u32,
    pub(super) channels: u8,
    pub(super) coding: Coding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// MPEG audio of this layer.
    Layer(u8),
    /// AAC, and the configuration its headers stand for.
    Aac([u8; 2]),
}

impl FrameHeader {
    /// Reads the header that `bytes` begins with.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xff, second, ..] if second & 0xf6 == 0xf0 => Self::adts(*bytes.first_chunk()?),
            [0xff, second, ..] if second & 0xe0 == 0xe0 => Self::mpeg(*bytes.first_chunk()?),
            _ => None,
        }
    }

    fn mpeg(bytes: [u8; 4]) -> Option<Self> {
        let [_, second, third, fourth] = bytes;
        let version = (second >> 3) & 3;
        let layer = 4 - ((second >> 1) & 3);
        let rate_at = usize::from((third >> 2) & 3);
        if version == 1 || layer == 4 || rate_at == 3 {
            return None;
        }
        let is_first = version == 3;
        let table = match (is_first, layer) {
            (true, layer) => usize::from(layer - 1),
            (false, 1) => 3,
            (false, _) => 4,
        };
        let kbits = *KBITS[table].get(usize::from(third >> 4))?;
        if kbits == 0 {
            return None;
        }
        let halvings = match version {
            3 => 0,
            2 => 1,
            _ => 2,
        };
        let rate_hz = [44_100, 48_000, 32_000][rate_at] >> halvings;
        let padding = u32::from((third >> 1) & 1);
        let is_mono = fourth >> 6 == 3;
        let (bytes, samples) = match (layer, is_first) {
            (1, _) => ((12 * kbits * 1000 / rate_hz + padding) * 4, 384),
            (3, false) => (72 * kbits * 1000 / rate_hz + padding, 576),
            _ => (144 * kbits * 1000 / rate_hz + padding, 1152),
        };
        let side = match (is_first, is_mono) {
            (true, false) => 32,
            (true, true) | (false, false) => 17,
            (false, true) => 9,
        };
        Some(Self {
            stream: Stream {
                rate_hz,
                channels: if is_mono { 1 } else { 2 },
                coding: Coding::Layer(layer),
            },
            bytes: bytes.into(),
            samples,
            tag_at: 4 + side,
        })
    }

    fn adts(bytes: [u8; 7]) -> Option<Self> {
        let [_, _, third, fourth, fifth, sixth, _] = bytes;
        let object = (third >> 6) + 1;
        let rate_at = (third >> 2) & 15;
        let rate_hz = *ADTS_RATES_HZ.get(usize::from(rate_at))?;
        let channels = (third & 1) << 2 | fourth >> 6;
        let length = u64::from(fourth & 3) << 11 | u64::from(fifth) << 3 | u64::from(sixth >> 5);
        if length < 8 {
            return None;
        }
        Some(Self {
            stream: Stream {
                rate_hz,
                channels: if channels == 7 { 8 } else { channels },
                coding: Coding::Aac([object << 3 | rate_at >> 1, rate_at << 7 | channels << 3]),
            },
            bytes: length,
            samples: 1_024,
            tag_at: usize::MAX,
        })
    }
}

/// A run of frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) header: FrameHeader,
    pub(super) end: u64,
    /// Samples of all frames with sound, the encoder's delay and padding included.
    pub(super) samples: u64,
    pub(super) tag: Option<InfoTag>,
}

impl Run {
    /// Samples to leave out at the start, and those to keep; all that follow, if it is not known what is padding.
    pub(super) fn trim(&self) -> (u64, Option<u64>) {
        let Some((delay, padding)) = self.tag.and_then(|tag| tag.gapless) else {
            return (0, None);
        };
        let skip = u64::from(delay) + DECODER_DELAY;
        let padding = u64::from(padding).saturating_sub(DECODER_DELAY);
        // Frames beyond the tag's count were joined on: which of them are padding is not told.
        let is_exact = self
            .promised()
            .is_none_or(|promised| promised == self.samples);
        let keep = self.samples.saturating_sub(skip + padding);
        (skip, is_exact.then_some(keep))
    }

    /// Samples by the tag.
    pub(super) fn promised(&self) -> Option<u64> {
        let frames = self.tag?.frames?;
        Some(u64::from(frames) * self.header.samples)
    }
}

/// What the Xing, Info or VBRI tag says, which stands in a frame of its own without sound.
#[derive(Clone, Copy, Debug)]
pub(super) struct InfoTag {
    /// Frames that follow.
    frames: Option<u32>,
    /// Delay and padding in samples, if the encoder tells.
    gapless: Option<(u16, u16)>,
}

impl InfoTag {
    /// The tag of `frame`, whose header is `header`.
    fn read(header: &FrameHeader, frame: &[u8]) -> Option<Self> {
        if !matches!(header.stream.coding, Coding::Layer(3)) {
            return None;
        }
        if frame.get(36..40) == Some(b"VBRI") {
            let frames = frame.get(50..54)?.first_chunk().copied();
            return Some(Self {
                frames: frames.map(u32::from_be_bytes),
                gapless: None,
            });
        }
        // A checksum moves what follows by two bytes in what some encoders write.
        let tag = [header.tag_at, header.tag_at + 2]
            .into_iter()
            .filter_map(|at| frame.get(at..))
            .find(|tag| tag.starts_with(b"Xing") || tag.starts_with(b"Info"))?;
        let flags = *tag.get(7)?;
        let mut at = 8;
        let mut frames = None;
        if flags & 1 != 0 {
            frames = tag
                .get(at..)?
                .first_chunk()
                .copied()
                .map(u32::from_be_bytes);
            at += 4;
        }
        for (flag, length) in [(2, 4), (4, 100), (8, 4)] {
            if flags & flag != 0 {
                at += length;
            }
        }
        let encoder = tag.get(at..at + 9).unwrap_or_default();
        let gapless = tag.get(at + 21..at + 24).and_then(|three| {
            let [a, b, c] = [three[0], three[1], three[2]].map(u16::from);
            let is_named = encoder.iter().take(4).all(u8::is_ascii_alphanumeric);
            (is_named && !encoder.is_empty()).then_some((a << 4 | b >> 4, (b & 15) << 8 | c))
        });
        Some(Self { frames, gapless })
    }
}

/// Whether frames of one stream follow each other from `at` on: a few, or up to `end`.
pub(super) fn begins(window: &mut Window<'_>, at: u64, end: u64) -> io::Result<bool> {
    let mut at = at;
    let mut stream = None;
    for count in 0..FRAMES_CERTAIN {
        let Some(header) = FrameHeader::read(window.at(at, 8)?) else {
            // The last frame may be cut, and other things may follow the last one: two frames are enough then.
            return Ok(count >= 2 || (count == 1 && at >= end));
        };
        if stream.is_some_and(|stream| stream != header.stream) {
            return Ok(count >= 2);
        }
        stream = Some(header.stream);
        at += header.bytes;
    }
    Ok(true)
}

/// Walks the frames of one stream from `at` to where it ends: another stream, a tag, something else, or `end`.
pub(super) fn walk(bytes: &Bytes, at: u64, end: u64) -> io::Result<Option<Run>> {
    let mut window = Window::new(bytes);
    let Some(header) = FrameHeader::read(window.at(at, 8)?) else {
        return Ok(None);
    };
    let tag = tag_at(&mut window, &header, at)?;
    let mut run = Run {
        header,
        end: at,
        samples: 0,
        tag,
    };
    let mut next = at;
    if tag.is_some() {
        next += header.bytes;
    }
    loop {
        run.end = next.min(end);
        if next >= end {
            return Ok(Some(run));
        }
        let Some(header) = FrameHeader::read(window.at(next, 8)?) else {
            return Ok(Some(run));
        };
        let is_other = header.stream != run.header.stream;
        if is_other || next + header.bytes > end || tag_at(&mut window, &header, next)?.is_some() {
            // The last frame, cut off, is not worth a word: players drop it.
            if next + header.bytes > end && !is_other {
                run.end = end;
            }
            return Ok(Some(run));
        }
        run.samples += header.samples;
        next += header.bytes;
    }
}

fn tag_at(window: &mut Window<'_>, header: &FrameHeader, at: u64) -> io::Result<Option<InfoTag>> {
    let length = (header.bytes as usize).min(256);
    Ok(InfoTag::read(header, window.at(at, length)?))
}
