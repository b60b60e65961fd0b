//! Where an MP4 keeps its pictures: `mp4-atom` reads the boxes, and this what their tables say.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use mp4_atom::{Avcc, Codec, Colr, Decode as _, Moov, Stbl, StszSamples, Trak};

use super::colour::Colours;

/// Bytes of the tables at most: a film of days.
const TABLES_BYTES_MAX: u64 = 64 << 20;
/// Pictures at most, as backgrounds.
const PICTURES_MAX: usize = 1_000_000;
/// Boxes before the tables that are looked at.
const BOXES_MAX: usize = 1000;
/// What the decoder knows: baseline, main, extended's subset, high.
const PROFILES: [u8; 4] = [66, 77, 88, 100];
/// Begins a unit in a stream.
const START: [u8; 4] = [0, 0, 0, 1];

/// The pictures of a film.
#[derive(Debug)]
pub(super) struct Track {
    /// Where each sample is, in the order they are decoded: offset and size.
    pub(super) samples: Vec<(u64, u32)>,
    /// How many of the first pictures are not shown.
    pub(super) hidden: usize,
    /// What the decoder has to know first, as a stream.
    pub(super) parameters: Vec<u8>,
    pub(super) colours: Colours,
    /// Bytes of the length before each unit of a sample.
    length_bytes: usize,
}

impl Track {
    /// Reads the tables of the film's first picture track.
    pub(super) fn read(file: &mut File) -> Result<Self, String> {
        let moov = tables(file)?;
        if moov.mvex.is_some() {
            return Err("it is fragmented".to_owned());
        }
        let mut tracks = moov.trak.iter();
        let track = tracks
            .find(|track| track.mdia.hdlr.handler.as_ref() == b"vide")
            .ok_or("it has no picture track")?;
        let table = &track.mdia.minf.stbl;
        let (avcc, colr) = description(table)?;
        if !PROFILES.contains(&avcc.avc_profile_indication) {
            return Err(format!(
                "its pictures are H.264 of profile {}, with more than 8 bits or finer colours",
                avcc.avc_profile_indication
            ));
        }
        let length_bytes = usize::from(avcc.length_size);
        if !(1..=4).contains(&length_bytes) {
            return Err("its units have lengths of an unknown form".to_owned());
        }
        let sets = avcc.sequence_parameter_sets.iter();
        let sets = sets.chain(&avcc.picture_parameter_sets);
        let parameters = sets.flat_map(|set| START.iter().chain(set)).copied();
        let samples = samples(table)?;
        Ok(Self {
            hidden: hidden(track, samples.len()),
            samples,
            parameters: parameters.collect(),
            colours: Colours::of(colr),
            length_bytes,
        })
    }

    /// A sample as a stream: units begin with a mark instead of a length.
    pub(super) fn annex_b(&self, mut sample: &[u8]) -> Option<Vec<u8>> {
        let mut stream = Vec::with_capacity(sample.len() + 16);
        while !sample.is_empty() {
            let (length, rest) = sample.split_at_checked(self.length_bytes)?;
            let length = length
                .iter()
                .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            let (unit, rest) = rest.split_at_checked(length)?;
            stream.extend(START);
            stream.extend(unit);
            sample = rest;
        }
        Some(stream)
    }
}

/// The box `moov` of a file, wherever it is.
fn tables(file: &mut File) -> Result<Moov, String> {
    let failed = |error: std::io::Error| error.to_string();
    let end = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let mut at = 0;
    for _ in 0..BOXES_MAX {
        let mut header = [0; 16];
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        if end.saturating_sub(at) < 8 {
            break;
        }
        let known = (end - at).min(16) as usize;
        file.read_exact(&mut header[..known]).map_err(failed)?;
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte))
        };
        let (size, header_bytes) = match number(&header[..4]) {
            0 => (end - at, 8),
            1 if known == 16 => (number(&header[8..]), 16),
            size => (size, 8),
        };
        if at == 0 && &header[4..8] != b"ftyp" && &header[4..8] != b"moov" {
            return Err("it is no MP4".to_owned());
        }
        if size < header_bytes || size > end - at {
            return Err("it is cut, or its boxes are damaged".to_owned());
        }
        if &header[4..8] == b"moov" {
            if size > TABLES_BYTES_MAX {
                return Err("its tables are too large".to_owned());
            }
            let mut bytes = vec![0; size as usize];
            file.seek(SeekFrom::Start(at)).map_err(failed)?;
            file.read_exact(&mut bytes).map_err(failed)?;
            return Moov::decode(&mut &*bytes)
                .map_err(|error| format!("its tables are damaged: {error}"));
        }
        at += size;
    }
    Err("it has no tables of its samples: it is cut, or no MP4".to_owned())
}

/// What decodes the track's pictures.
fn description(table: &Stbl) -> Result<(&Avcc, Option<&Colr>), String> {
    match &table.stsd.codecs[..] {
        [Codec::Avc1(avc1)] => Ok((&avc1.avcc, avc1.colr.as_ref())),
        [Codec::Avc3(avc3)] => Ok((&avc3.avcc, avc3.colr.as_ref())),
        [] => Err("it does not say what its pictures are".to_owned()),
        [other] => Err(format!("its pictures are {}, not H.264", codec(other))),
        _ => Err("its pictures change their form on the way".to_owned()),
    }
}

/// A codec in the trade's words.
fn codec(codec: &Codec) -> String {
    match codec {
        Codec::Hev1(_) | Codec::Hvc1(_) => "H.265".to_owned(),
        Codec::Vp08(_) => "VP8".to_owned(),
        Codec::Vp09(_) => "VP9".to_owned(),
        Codec::Av01(_) => "AV1".to_owned(),
        Codec::Jpeg(_) => "Motion JPEG".to_owned(),
        Codec::Unknown(code, _) if code.as_ref() == b"mp4v" => "MPEG-4 Part 2".to_owned(),
        Codec::Unknown(code, _) => format!("{code:?}"),
        _ => "of another codec".to_owned(),
    }
}

/// Where the samples are.
fn samples(table: &Stbl) -> Result<Vec<(u64, u32)>, String> {
    let damaged = || "its tables contradict each other".to_owned();
    let count = match &table.stsz.samples {
        StszSamples::Identical { count, .. } => *count as usize,
        StszSamples::Different { sizes } => sizes.len(),
    };
    if count == 0 {
        return Err("it has no pictures".to_owned());
    }
    if count > PICTURES_MAX {
        return Err(format!("it has more than {PICTURES_MAX} pictures"));
    }
    let size = |index: usize| match &table.stsz.samples {
        StszSamples::Identical { size, .. } => *size,
        StszSamples::Different { sizes } => sizes[index],
    };
    let chunks: Vec<u64> = match (&table.stco, &table.co64) {
        (_, Some(co64)) => co64.entries.clone(),
        (Some(stco), None) => stco.entries.iter().map(|&offset| offset.into()).collect(),
        (None, None) => return Err(damaged()),
    };
    let mut samples = Vec::with_capacity(count);
    let mut runs = table.stsc.entries.iter().peekable();
    let mut per_chunk = 0;
    for (chunk, &offset) in chunks.iter().enumerate() {
        while let Some(run) = runs.next_if(|run| run.first_chunk as usize <= chunk + 1) {
            per_chunk = run.samples_per_chunk as usize;
        }
        let mut at = offset;
        for _ in 0..per_chunk.min(count - samples.len()) {
            let size = size(samples.len());
            samples.push((at, size));
            at = at.checked_add(size.into()).ok_or_else(damaged)?;
        }
    }
    if samples.len() == count {
        Ok(samples)
    } else {
        Err(damaged())
    }
}

/// How many pictures lie before the moment at which the edit list begins.
fn hidden(track: &Trak, samples: usize) -> usize {
    let edits = track.edts.as_ref().and_then(|edts| edts.elst.as_ref());
    let start = edits.and_then(|edits| edits.entries.iter().find_map(|edit| edit.media_time));
    let Some(start) = start.filter(|&start| start > 0) else {
        return 0;
    };
    let table = &track.mdia.minf.stbl;
    let steps = table.stts.entries.iter();
    let steps =
        steps.flat_map(|run| std::iter::repeat_n(run.sample_delta, run.sample_count as usize));
    let offsets = table.ctts.iter().flat_map(|table| &table.entries);
    let offsets =
        offsets.flat_map(|run| std::iter::repeat_n(run.sample_offset, run.sample_count as usize));
    let mut time = 0_i64;
    steps
        .zip(offsets.chain(std::iter::repeat(0)))
        .take(samples)
        .filter(|&(step, offset)| {
            let shown = time.saturating_add(offset);
            time = time.saturating_add(step.into());
            shown < i64::try_from(start).unwrap_or(i64::MAX)
        })
        .count()
        // One that hides all of them is not meant.
        .min(samples - 1)
}
