//! The header: where every sample lies, how long it lasts, and what decodes it.

use mp4_atom::{
    Audio, Avc1, Avcc, Co64, Codec, Colr, Dinf, Dref, DrefEntry, Edts, Elst, ElstEntry, Encode,
    FourCC, Ftyp, Hdlr, Mdhd, Mdia, Minf, Moov, Mp4a, Mvhd, Smhd, Stbl, Stco, Stsc, StscEntry,
    Stsd, Stss, Stsz, StszSamples, Stts, SttsEntry, Tkhd, Trak, Url, Visual, Vmhd,
    esds::{DecoderConfig, DecoderSpecific, EsDescriptor, Esds, SLConfig},
};

use super::spool::{Samples, Spool};
use crate::film::{Clip, FilmError};

/// Ticks a second of the movie's own clock, in which tracks are laid beside each other.
const MOVIE_TICKS: u32 = 90_000;
/// Ticks of one picture in the clock of the picture track; a second has `fps` times as many.
const PICTURE_TICKS: u32 = 512;
/// The track ids.
const PICTURE_ID: u32 = 1;
const SOUND_ID: u32 = 2;
/// As ITU-T H.273 numbers them: primaries and matrix of BT.709, and the transfer function of sRGB, which is what pictures
/// come in. Tagged as BT.709's own, Chromium shows them up to 14 steps too bright.
const BT709: u16 = 1;
const SRGB: u16 = 13;
/// `objectTypeIndication` of MPEG-4 audio, and the stream type "audio".
const MPEG4_AUDIO: u8 = 0x40;
const AUDIO_STREAM: u8 = 0x05;
/// Bytes of the header of `mdat` with a 64-bit length.
const MDAT_HEADER: u64 = 16;

/// What decodes the pictures.
#[derive(Debug)]
pub(super) struct PictureDescription<'a> {
    pub(super) clip: Clip,
    pub(super) sps: &'a [u8],
    pub(super) pps: &'a [u8],
}

/// What decodes the sound.
#[derive(Debug)]
pub(super) struct SoundDescription<'a> {
    pub(super) rate_hz: u32,
    pub(super) channels: u16,
    /// Frames in one packet.
    pub(super) packet_frames: u32,
    /// Frames that come out before the first one that went in.
    pub(super) delay_frames: u32,
    /// Frames that went in.
    pub(super) frames: u64,
    /// The `AudioSpecificConfig`.
    pub(super) config: &'a [u8],
}

impl Spool {
    /// Everything before the samples.
    pub(super) fn header(
        &self,
        picture: &PictureDescription<'_>,
        sound: Option<&SoundDescription<'_>>,
    ) -> Result<Vec<u8>, FilmError> {
        let failed = FilmError::Container;
        let mut header = Vec::new();
        let ftyp = Ftyp {
            major_brand: FourCC::new(b"isom"),
            minor_version: 512,
            compatible_brands: [b"isom", b"iso2", b"avc1", b"mp41"].map(FourCC::new).into(),
        };
        ftyp.encode(&mut header).map_err(failed)?;
        // The header's own length moves the samples, but does not depend on where they are.
        let mut measured = Vec::new();
        self.movie(picture, sound, 0)?
            .encode(&mut measured)
            .map_err(failed)?;
        let start = (header.len() + measured.len()) as u64 + MDAT_HEADER;
        self.movie(picture, sound, start)?
            .encode(&mut header)
            .map_err(failed)?;
        // A length of 1 says that the real one follows in 64 bits.
        header.extend(1u32.to_be_bytes());
        header.extend(b"mdat");
        header.extend((MDAT_HEADER + self.length).to_be_bytes());
        debug_assert_eq!(header.len() as u64, start);
        Ok(header)
    }

    /// The header of a file whose samples begin at `start`.
    fn movie(
        &self,
        picture: &PictureDescription<'_>,
        sound: Option<&SoundDescription<'_>>,
        start: u64,
    ) -> Result<Moov, FilmError> {
        let mut trak = vec![self.picture_track(picture, start)?];
        trak.extend(sound.map(|sound| self.sound_track(sound, start)));
        let duration = trak.iter().map(|track| track.tkhd.duration).max();
        Ok(Moov {
            mvhd: Mvhd {
                creation_time: 0,
                modification_time: 0,
                timescale: MOVIE_TICKS,
                duration: duration.unwrap_or(0),
                rate: 1.into(),
                volume: 1.into(),
                matrix: mp4_atom::Matrix::default(),
                next_track_id: SOUND_ID + 1,
            },
            meta: None,
            mvex: None,
            trak,
            udta: None,
            ainf: None,
        })
    }

    fn picture_track(
        &self,
        picture: &PictureDescription<'_>,
        start: u64,
    ) -> Result<Trak, FilmError> {
        let Clip { size, fps } = picture.clip;
        let frames = self.picture.sizes.len() as u64;
        let ticks = frames * u64::from(PICTURE_TICKS);
        let timescale = fps * PICTURE_TICKS;
        let avc1 = Avc1 {
            visual: Visual {
                data_reference_index: 1,
                width: size.width.next_multiple_of(2) as u16,
                height: size.height.next_multiple_of(2) as u16,
                ..Visual::default()
            },
            avcc: avcc(picture)?,
            colr: Some(Colr::Nclx {
                colour_primaries: BT709,
                transfer_characteristics: SRGB,
                matrix_coefficients: BT709,
                full_range_flag: false,
            }),
            ..Avc1::default()
        };
        Ok(Trak {
            tkhd: Tkhd {
                track_id: PICTURE_ID,
                duration: rescale(ticks, timescale, MOVIE_TICKS),
                enabled: true,
                in_movie: true,
                width: avc1.visual.width.into(),
                height: avc1.visual.height.into(),
                ..Tkhd::default()
            },
            mdia: Mdia {
                mdhd: mdhd(timescale, ticks),
                hdlr: hdlr(*b"vide"),
                minf: Minf {
                    vmhd: Some(Vmhd::default()),
                    dinf: dinf(),
                    stbl: Stbl {
                        stss: Some(Stss {
                            entries: self.picture.keys.clone(),
                        }),
                        ..self.picture.table(avc1.into(), PICTURE_TICKS, start)
                    },
                    ..Minf::default()
                },
            },
            ..Trak::default()
        })
    }

    fn sound_track(&self, sound: &SoundDescription<'_>, start: u64) -> Trak {
        let packets = self.sound.sizes.len() as u64;
        let frames = packets * u64::from(sound.packet_frames);
        let duration = rescale(sound.frames, sound.rate_hz, MOVIE_TICKS);
        Trak {
            tkhd: Tkhd {
                track_id: SOUND_ID,
                duration,
                enabled: true,
                in_movie: true,
                alternate_group: 1,
                volume: 1.into(),
                ..Tkhd::default()
            },
            // Players skip what the encoder puts before the first frame and after the last.
            edts: Some(Edts {
                elst: Some(Elst {
                    entries: vec![ElstEntry {
                        segment_duration: duration,
                        media_time: Some(sound.delay_frames.into()),
                        media_rate: 1.into(),
                    }],
                }),
            }),
            mdia: Mdia {
                mdhd: mdhd(sound.rate_hz, frames),
                hdlr: hdlr(*b"soun"),
                minf: Minf {
                    smhd: Some(Smhd::default()),
                    dinf: dinf(),
                    stbl: self
                        .sound
                        .table(self.mp4a(sound).into(), sound.packet_frames, start),
                    ..Minf::default()
                },
            },
            ..Trak::default()
        }
    }

    fn mp4a(&self, sound: &SoundDescription<'_>) -> Mp4a {
        let bytes: u64 = self.sound.sizes.iter().map(|size| u64::from(*size)).sum();
        let largest = self.sound.sizes.iter().max().copied().unwrap_or(0);
        let bits_per_second = |bytes: u64, frames: u64| {
            let bits = 8 * bytes * u64::from(sound.rate_hz);
            (bits / frames.max(1)) as u32
        };
        Mp4a {
            audio: Audio {
                data_reference_index: 1,
                channel_count: sound.channels,
                sample_size: 16,
                // 16 bits hold no more than 65535; decoders read the rate from the configuration.
                sample_rate: u16::try_from(sound.rate_hz).unwrap_or(0).into(),
            },
            esds: Esds {
                es_desc: EsDescriptor {
                    es_id: SOUND_ID as u16,
                    dec_config: DecoderConfig {
                        object_type_indication: MPEG4_AUDIO,
                        stream_type: AUDIO_STREAM,
                        max_bitrate: bits_per_second(largest.into(), sound.packet_frames.into()),
                        avg_bitrate: bits_per_second(bytes, sound.frames),
                        dec_specific: Some(DecoderSpecific {
                            raw: sound.config.to_vec(),
                            ..DecoderSpecific::default()
                        }),
                        ..DecoderConfig::default()
                    },
                    sl_config: SLConfig::default(),
                    ..EsDescriptor::default()
                },
            },
            btrt: None,
            taic: None,
        }
    }
}

impl Samples {
    /// The tables of a track whose samples last `ticks` each, in a file whose samples begin at `start`.
    fn table(&self, codec: Codec, ticks: u32, start: u64) -> Stbl {
        let offsets = || self.chunks.iter().map(|(offset, _)| start + offset);
        // Decided without `start`, so that the header's length does not depend on it; 16 MB is more than any header.
        let is_small = self
            .chunks
            .last()
            .is_none_or(|(offset, _)| *offset < (1 << 32) - (1 << 24));
        Stbl {
            stsd: Stsd {
                codecs: vec![codec],
            },
            stts: Stts {
                entries: vec![SttsEntry {
                    sample_count: self.sizes.len() as u32,
                    sample_delta: ticks,
                }],
            },
            stsc: Stsc {
                entries: runs(&self.chunks),
            },
            stsz: Stsz {
                samples: StszSamples::Different {
                    sizes: self.sizes.clone(),
                },
            },
            stco: is_small.then(|| Stco {
                entries: offsets().map(|offset| offset as u32).collect(),
            }),
            co64: (!is_small).then(|| Co64 {
                entries: offsets().collect(),
            }),
            ..Stbl::default()
        }
    }
}

/// How many samples the chunks have, an entry for each change.
fn runs(chunks: &[(u64, u32)]) -> Vec<StscEntry> {
    let mut entries: Vec<StscEntry> = Vec::new();
    for (at, (_, count)) in chunks.iter().enumerate() {
        if entries
            .last()
            .is_none_or(|last| last.samples_per_chunk != *count)
        {
            entries.push(StscEntry {
                first_chunk: at as u32 + 1,
                samples_per_chunk: *count,
                sample_description_index: 1,
            });
        }
    }
    entries
}

fn avcc(picture: &PictureDescription<'_>) -> Result<Avcc, FilmError> {
    let avcc = Avcc::new(picture.sps, picture.pps).map_err(FilmError::Container)?;
    // The profiles above Main say their chroma format and depth too.
    let has_extension = matches!(avcc.avc_profile_indication, 100 | 110 | 122 | 144);
    Ok(Avcc {
        ext: has_extension.then(mp4_atom::AvccExt::default),
        ..avcc
    })
}

fn mdhd(timescale: u32, duration: u64) -> Mdhd {
    Mdhd {
        timescale,
        duration,
        language: "und".to_owned(),
        ..Mdhd::default()
    }
}

fn hdlr(handler: [u8; 4]) -> Hdlr {
    Hdlr {
        handler: FourCC::new(&handler),
        name: "lipsync".to_owned(),
    }
}

/// All data is in the file itself.
fn dinf() -> Dinf {
    Dinf {
        dref: Dref {
            entries: vec![DrefEntry::Url(Url::default())],
        },
    }
}

/// `ticks` of one clock in another, rounded up so that nothing at the end is cut.
fn rescale(ticks: u64, from: u32, to: u32) -> u64 {
    (u128::from(ticks) * u128::from(to)).div_ceil(from.into()) as u64
}
