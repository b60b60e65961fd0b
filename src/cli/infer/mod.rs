//! `lipsync infer`: speech in, a talking avatar out; from the configuration alone, or by a server.

pub(crate) mod offline;
mod remote;
pub(crate) mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Global;
use super::output::{Output, usage};
use crate::defaults::BATCH_FRAMES_MAX;
use crate::encoder::{Format, FormatName};
use crate::film::Target;

/// Where a batch goes if nothing else is said.
const BATCH_FOLDER: &str = "frames";

/// Options of `infer`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("speech").required(true).multiple(true).args(["audio", "batch"]))]
pub(crate) struct Args {
    /// The avatar, by its name in the configuration
    #[arg(long, value_name = "ID")]
    pub(crate) model: String,
    /// The speech: a sound file or a film with sound, in any usual format; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) audio: Option<PathBuf>,
    /// Make only the first N frames (1-25) as one batch and show what each stage takes; of a bundled sample, without
    /// --audio
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(BATCH_FRAMES_MAX)))]
    pub(crate) batch: Option<u8>,
    /// Where to write: a film (talk.mp4), or a folder for numbered pictures [default with --batch: frames]
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
    /// Index of the first frame in the avatar's endless sequence of backgrounds
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) start_frame: u64,
    /// The format of pictures [default: png]
    #[arg(long, value_enum)]
    pub(crate) format: Option<FormatName>,
    /// Quality of JPEG pictures, 1-100 [default: 90]
    #[arg(long, value_name = "Q", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) quality: Option<u8>,
    /// What writes a film: the libraries compiled in, or the installed ffmpeg, which takes any file name it knows
    #[arg(long, value_enum)]
    pub(crate) encoder: Option<FilmEncoder>,
    #[command(flatten)]
    pub(crate) remote: remote::RemoteArgs,
}

/// `--encoder`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FilmEncoder {
    /// H.264 and AAC in an .mp4, compiled in
    Builtin,
    /// The program, which must be installed
    Ffmpeg,
}

/// Renders, and says what it took.
pub(crate) fn run(global: &Global, args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let target = args.target()?;
    let report = match &args.remote.server {
        Some(url) => remote::render(global, args, url, &target, output)?,
        None => offline::run(global, args, target, output)?,
    };
    output.result(&report, || report.human())?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// What is written, and where to.
    fn target(&self) -> anyhow::Result<Target> {
        let out = match (&self.out, self.batch) {
            (Some(out), _) => out.clone(),
            (None, Some(_)) => BATCH_FOLDER.into(),
            (None, None) => {
                return Err(usage(
                    "--out is missing: name a film (--out talk.mp4) or a folder for pictures (--out frames/)",
                ));
            }
        };
        match (ending(&out), self.encoder) {
            (Some(_), _) if self.batch.is_some() => Err(usage(format!(
                "--batch writes pictures, but --out {} is a film: name a folder, such as frames/",
                out.display()
            ))),
            (None, None) => Ok(Target::Pictures {
                folder: out,
                format: self.picture_format()?,
            }),
            (None, Some(_)) => Err(usage(format!(
                "--encoder is about films, but --out {} is a folder of pictures: name a film, such as talk.mp4",
                out.display()
            ))),
            _ if self.format.is_some() || self.quality.is_some() => Err(usage(format!(
                "--format and --quality are about pictures, but --out {} is a film: name a folder, such as frames/",
                out.display()
            ))),
            (Some(_), Some(FilmEncoder::Ffmpeg)) => Ok(Target::Ffmpeg(out)),
            (Some(ending), _) if ["mp4", "m4v"].contains(&ending.as_str()) => Ok(Target::Mp4(out)),
            (Some(ending), _) => Err(usage(format!(
                "--out {}: cannot write .{ending} files: name an .mp4 file or a folder, or add --encoder ffmpeg",
                out.display()
            ))),
        }
    }

    fn picture_format(&self) -> anyhow::Result<Format> {
        match self.format.unwrap_or(FormatName::Png) {
            name if self.quality.is_none() || name == FormatName::Jpeg => {
                Ok(name.with_quality(self.quality))
            }
            _ => Err(usage("--quality is about JPEG: add --format jpeg")),
        }
    }
}

/// The ending of a file's name in lower case; `None` for the name of a folder.
fn ending(path: &Path) -> Option<String> {
    let text = path.as_os_str().to_string_lossy();
    if text.ends_with(['/', std::path::MAIN_SEPARATOR]) || path.is_dir() {
        return None;
    }
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}
