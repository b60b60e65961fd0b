//! What a file consists of: one sound file, or several one after another, with tags between them.
//!
//! Speech services and people join files by writing one behind the other. Each container is recognised by what stands at
//! its first byte, never by a search through tags or other data, and each tells where it ends; what follows is looked at
//! in the same way.

use std::io;
use std::ops::Range;

use super::mpeg::{self, Run};
use super::riff::{self, Claim, HeaderError, Kind};
use super::source::{Bytes, Window};
use super::{matroska, mp4, ogg};

/// More joined files than this are no speech.
const PIECES_MAX: usize = 100_000;
/// Bytes of an unknown kind before the first frame of MPEG audio, as a recording cut out of a stream has.
const JUNK_BYTES_MAX: u64 = 64 * 1024;

/// One whole sound file within the file.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) container: Container,
    /// Its bytes.
    pub(super) span: Range<u64>,
    /// A header of our own that stands before them.
    pub(super) head: Vec<u8>,
    /// Whether its own header says that it should go on.
    pub(super) is_cut: bool,
    /// The codec, if it is known from the header and not read.
    pub(super) foreign_codec: Option<&'static str>,
}

/// What a piece is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Container {
    Wave { frames: u64 },
    Aiff { frames: u64 },
    Mpeg(Run),
    Adts(Run),
    Flac,
    Ogg,
    Mp4,
    Matroska,
    Caf,
}

impl Container {
    /// What people call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Wave { .. } => "WAV",
            Self::Aiff { .. } => "AIFF",
            Self::Mpeg(_) => "MP3",
            Self::Adts(_) => "AAC",
            Self::Flac => "FLAC",
            Self::Ogg => "OGG",
            Self::Mp4 => "MP4/MOV",
            Self::Matroska => "Matroska/WebM",
            Self::Caf => "CAF",
        }
    }
}

/// All pieces, and what is worth a word about them.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub(super) all: Vec<Piece>,
    pub(super) notes: Vec<String>,
}

/// Why a file cannot be taken apart.
pub(super) enum PiecesError {
    Io(io::Error),
    /// Another kind of file, by its name if it is known.
    Foreign(&'static str),
    Unknown,
    Broken(Container, &'static str),
    Cut {
        got_s: f64,
        claimed_s: f64,
    },
    TooMany,
}

impl From<io::Error> for PiecesError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Takes a file apart.
pub(super) fn find(bytes: &Bytes) -> Result<Pieces, PiecesError> {
    let mut pieces = Pieces::default();
    let mut at = 0;
    loop {
        at = skip_tags(bytes, at)?;
        if at >= bytes.len() {
            break;
        }
        if pieces.all.len() == PIECES_MAX {
            return Err(PiecesError::TooMany);
        }
        match piece(bytes, at, &mut pieces.notes)? {
            Some((piece, end)) => {
                pieces.all.push(piece);
                at = end;
            }
            None => at = step_over(bytes, at, &mut pieces)?,
        }
    }
    if pieces.all.is_empty() {
        return Err(PiecesError::Unknown);
    }
    Ok(pieces)
}

/// The piece that begins at `at`, and where it ends.
fn piece(
    bytes: &Bytes,
    at: u64,
    notes: &mut Vec<String>,
) -> Result<Option<(Piece, u64)>, PiecesError> {
    let mut window = Window::new(bytes);
    let start = window.at(at, 64)?.to_vec();
    let plain = |container, (end, is_cut): (u64, bool)| {
        let piece = Piece {
            container,
            span: at..end,
            head: Vec::new(),
            is_cut,
            foreign_codec: match start.get(28..36) {
                Some(b"Speex   ") => Some("Speex"),
                _ => None,
            },
        };
        Ok(Some((piece, end)))
    };
    for kind in [Kind::Wave, Kind::Aiff] {
        if kind.begins(&start) {
            return riff(bytes, kind, at, notes).map(Some);
        }
    }
    match sniff(&start) {
        Some(Mark::Flac) => plain(Container::Flac, (flac_end(bytes, at)?, false)),
        Some(Mark::Ogg) => plain(Container::Ogg, ogg::end(bytes, at)?),
        Some(Mark::Caf) => plain(Container::Caf, caf_end(bytes, at)?),
        Some(Mark::Matroska) => plain(Container::Matroska, matroska::end(bytes, at)?),
        Some(Mark::Mp4) => plain(Container::Mp4, mp4::end(bytes, at)?),
        None if mpeg::begins(&mut window, at, bytes.len())? => {
            let piece = frames(bytes, at..bytes.len())?;
            Ok(piece.map(|piece| {
                let end = piece.span.end;
                (piece, end)
            }))
        }
        None => Ok(None),
    }
}

/// A kind of container by what it begins with.
enum Mark {
    Flac,
    Ogg,
    Caf,
    Matroska,
    Mp4,
}

fn sniff(start: &[u8]) -> Option<Mark> {
    Some(match start {
        [b'f', b'L', b'a', b'C', ..] => Mark::Flac,
        [b'O', b'g', b'g', b'S', 0, ..] => Mark::Ogg,
        [b'c', b'a', b'f', b'f', 0, 1, ..] => Mark::Caf,
        [_, _, _, _, b'f', b't', b'y', b'p', ..]
        | [_, _, _, _, b'm', b'o', b'o', b'v', ..]
        | [_, _, _, _, b'w', b'i', b'd', b'e', ..] => Mark::Mp4,
        start if matroska::begins(start) => Mark::Matroska,
        _ => return None,
    })
}

/// Whether a file of any kind, or a tag, begins at `at`.
pub(super) fn begins(bytes: &Bytes, at: u64) -> io::Result<bool> {
    let mut window = Window::new(bytes);
    let start = window.at(at, 64)?;
    let is_tag = match start {
        [b'I', b'D', b'3', version, ..] => *version < b' ',
        start => start.starts_with(b"TAG") || start.starts_with(b"APETAGEX"),
    };
    let is_riff = [Kind::Wave, Kind::Aiff]
        .iter()
        .any(|kind| kind.begins(start));
    Ok(is_tag || is_riff || sniff(start).is_some() || mpeg::begins(&mut window, at, bytes.len())?)
}

/// A stream of MPEG or ADTS frames.
fn frames(bytes: &Bytes, span: Range<u64>) -> Result<Option<Piece>, PiecesError> {
    let Some(run) = mpeg::walk(bytes, span.start, span.end)? else {
        return Ok(None);
    };
    // Only an encoder that tells its delay counts its frames.
    let counts = run.tag.is_some() && run.trim().0 > 0;
    if counts
        && let Some(promised) = run.promised()
        && promised > run.samples + u64::from(run.header.stream.rate_hz) / 10
    {
        let seconds = |samples: u64| samples as f64 / f64::from(run.header.stream.rate_hz);
        return Err(PiecesError::Cut {
            got_s: seconds(run.samples),
            claimed_s: seconds(promised),
        });
    }
    Ok(Some(Piece {
        container: match run.header.stream.coding {
            mpeg::Coding::Layer(_) => Container::Mpeg(run),
            mpeg::Coding::Aac(_) => Container::Adts(run),
        },
        span: span.start..run.end,
        head: Vec::new(),
        is_cut: false,
        foreign_codec: None,
    }))
}

/// A WAV or AIFF file.
fn riff(
    bytes: &Bytes,
    kind: Kind,
    at: u64,
    notes: &mut Vec<String>,
) -> Result<(Piece, u64), PiecesError> {
    let container = |frames| match kind {
        Kind::Wave => Container::Wave { frames },
        Kind::Aiff => Container::Aiff { frames },
    };
    let riff = riff::read(bytes, kind, at).map_err(|error| match error {
        HeaderError::Io(error) => PiecesError::Io(error),
        HeaderError::Broken(reason) => PiecesError::Broken(container(0), reason),
    })?;
    match riff.claim {
        Claim::Whole => {}
        Claim::Cut { claimed_s, got_s } => return Err(PiecesError::Cut { got_s, claimed_s }),
        Claim::Absurd { claimed_s } => notes.push(format!(
            "its header promises {claimed_s:.0} s, far more than the file holds: all that is there is used"
        )),
    }
    if riff.is_mpeg {
        let piece = frames(bytes, riff.data)?;
        let piece = piece.ok_or(PiecesError::Broken(
            container(0),
            "its MPEG audio begins with no frame",
        ))?;
        return Ok((piece, riff.end));
    }
    let piece = Piece {
        container: container(riff.frames.unwrap_or(0)),
        span: riff.data,
        head: riff.head,
        is_cut: false,
        foreign_codec: riff.foreign_codec,
    };
    Ok((piece, riff.end))
}

/// Where the FLAC file at `start` ends: where another begins, or a tag that reaches to there or to the end. Its frames do
/// not say how long they are.
fn flac_end(bytes: &Bytes, start: u64) -> io::Result<u64> {
    let mut window = Window::new(bytes);
    let next = window.find(start + 4, bytes.len(), 8, |start| {
        matches!(start, [b'f', b'L', b'a', b'C', 0 | 0x80, 0, 0, 0x22])
    })?;
    let limit = next.unwrap_or(bytes.len());
    let mut end = limit;
    if limit > start + 128 && bytes.peek::<3>(limit - 128)?.0 == *b"TAG" {
        end = limit - 128;
    }
    let mut from = start + 4;
    for _ in 0..PIECES_MAX {
        let tag = window.find(from, end, 10, |start| {
            matches!(start, [b'I', b'D', b'3', 2..=4, 0, ..])
        })?;
        match tag {
            Some(tag) if skip_tags(bytes, tag)? >= end => return Ok(tag),
            Some(tag) => from = tag + 1,
            None => break,
        }
    }
    Ok(end)
}

/// Where the CAF file at `start` ends.
fn caf_end(bytes: &Bytes, start: u64) -> io::Result<(u64, bool)> {
    let mut at = start + 8;
    while let Some([_, _, _, _, length @ ..]) = bytes.array::<12>(at)? {
        if begins(bytes, at)? {
            return Ok((at, false));
        }
        // Sound of unknown length lasts to the file's end.
        let Ok(length) = u64::try_from(i64::from_be_bytes(length)) else {
            break;
        };
        at = at.saturating_add(12).saturating_add(length);
        if at > bytes.len() {
            return Ok((bytes.len(), true));
        }
    }
    Ok((bytes.len(), false))
}

/// Steps over what is no known container: nothing but zeros to the end, rubbish before more MPEG frames, or the rest.
fn step_over(bytes: &Bytes, at: u64, pieces: &mut Pieces) -> Result<u64, PiecesError> {
    let mut window = Window::new(bytes);
    let is_first = pieces.all.is_empty();
    if is_first && let Some(kind) = foreign(bytes, at)? {
        return Err(PiecesError::Foreign(kind));
    }
    let sound = window.find(at, bytes.len(), 1, |byte| byte != [0])?;
    let Some(from) = sound else {
        return Ok(bytes.len());
    };
    let reach = if is_first {
        bytes.len().min(at + JUNK_BYTES_MAX)
    } else {
        bytes.len()
    };
    let mut next = from;
    let found = loop {
        let mark = window.find(next, reach, 2, |two| {
            two[0] == 0xff && two[1] & 0xe0 == 0xe0
        })?;
        match mark {
            Some(mark) if mpeg::begins(&mut window, mark, bytes.len())? => break Some(mark),
            Some(mark) => next = mark + 1,
            None => break None,
        }
    };
    let end = match found {
        None if is_first => return Err(PiecesError::Unknown),
        found => found.unwrap_or(bytes.len()),
    };
    pieces.notes.push(format!(
        "{} bytes from byte {at} on are no sound of a known kind and are left out",
        end - at
    ));
    Ok(end)
}

/// The place behind the tags at `at`, each skipped by its own length.
fn skip_tags(bytes: &Bytes, mut at: u64) -> io::Result<u64> {
    loop {
        let (start, count) = bytes.peek::<32>(at)?;
        let length = match &start {
            [b'I', b'D', b'3', major, minor, flags, a, b, c, d, ..]
                if count >= 10 && *major < 0xff && *minor < 0xff && (a | b | c | d) & 0x80 == 0 =>
            {
                let size = [a, b, c, d]
                    .iter()
                    .fold(0, |all, b| all << 7 | u64::from(**b));
                // A footer as long as the header, if the flags say so.
                10 + size + if flags & 0x10 != 0 { 10 } else { 0 }
            }
            [b'T', b'A', b'G', b'+', ..] => 227,
            [b'T', b'A', b'G', ..] if bytes.len() - at >= 128 => 128,
            [b'A', b'P', b'E', b'T', b'A', b'G', b'E', b'X', ..] => {
                let size = u32::from_le_bytes([start[12], start[13], start[14], start[15]]);
                let is_header = start[23] & 0x20 != 0;
                // The size counts the footer and not the header.
                u64::from(if is_header { size } else { 0 }) + 32
            }
            _ => return Ok(at),
        };
        at = at.saturating_add(length).min(bytes.len());
    }
}

/// The name of a kind of file that is known and not read.
fn foreign(bytes: &Bytes, at: u64) -> io::Result<Option<&'static str>> {
    let (start, count) = bytes.peek::<16>(at)?;
    let start = &start[..count];
    let form = start.get(8..12).unwrap_or_default();
    let known: [(&[u8], &str); 33] = [
        (b"#!AMR", "an AMR recording"),
        (b".snd", "a Sun AU file"),
        (b".RMF", "a RealMedia file"),
        (b"wvpk", "a WavPack file"),
        (b"MAC ", "a Monkey's Audio file"),
        (b"MPCK", "a Musepack file"),
        (b"MP+", "a Musepack file"),
        (b"TTA1", "a True Audio file"),
        (b"DSD ", "a DSD file"),
        (b"FRM8", "a DSD file"),
        (b"riff", "a Wave64 file"),
        (b"RIFX", "a big-endian WAV (RIFX)"),
        (b"FLV", "a Flash film"),
        (b"\x30\x26\xb2\x75", "a Windows Media file"),
        (b"\x0b\x77", "an AC-3 stream"),
        (b"\x7f\xfe\x80\x01", "a DTS stream"),
        (b"\x00\x00\x01\xba", "an MPEG program stream"),
        (b"\x00\x00\x01\xb3", "an MPEG video stream"),
        (b"MThd", "a MIDI file"),
        (
            b"\x1aE\xdf\xa3",
            "an EBML file that is neither Matroska nor WebM",
        ),
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"GIF8", "a GIF picture"),
        (b"%PDF", "a PDF document"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"7z\xbc\xaf", "a 7z archive"),
        (b"<!DOCTYPE", "a web page"),
        (b"<!doctype", "a web page"),
        (b"<html", "a web page"),
        (b"{\"", "a JSON document"),
        (
            b"version https:/",
            "a Git LFS pointer, not the file itself (git lfs pull fetches it)",
        ),
        (b"#EXTM3U", "a playlist"),
    ];
    if start.starts_with(b"RIFF") && form == b"AVI " {
        return Ok(Some("an AVI film"));
    }
    let found = known.iter().find(|(mark, _)| start.starts_with(mark));
    if let Some((_, name)) = found {
        return Ok(Some(name));
    }
    // Packets of 188 bytes, each with its mark; with a time of four bytes before each, 192.
    for (from, step) in [(0, 188), (4, 192)] {
        let mut marks = 0;
        while marks < 3 && bytes.peek::<1>(at + from + marks * step)?.0 == [0x47] {
            marks += 1;
        }
        if marks == 3 {
            return Ok(Some("an MPEG transport stream"));
        }
    }
    Ok(None)
}
