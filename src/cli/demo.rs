//! `lipsync demo`: three avatars out of nothing, and a server or a film to see them talk.

use std::path::PathBuf;
use std::process::ExitCode;

use super::infer::offline::{self, Job, Speech};
use super::output::{OrHint as _, Output};
use super::{Global, serve};
use crate::demo::{self, FRAMES, Origin, Outcome, Who};
use crate::film::Target;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the demo avatars are, or are to be written
    #[arg(long, value_name = "FOLDER", default_value = "./models")]
    folder: PathBuf,
    /// Render the bundled speech sample instead of starting a server
    #[arg(long, value_name = "FILM", num_args = 0..=1, default_missing_value = "talk.mp4")]
    render: Option<PathBuf>,
    /// How many frames each avatar gets; fewer are drawn sooner
    #[arg(long, value_name = "N", default_value_t = FRAMES as u8, hide = true,
          value_parser = clap::value_parser!(u8).range(1..=FRAMES as i64))]
    frames: u8,
    /// Who talks in the film
    #[arg(
        long,
        value_name = "ID",
        default_value = "sanders",
        requires = "render"
    )]
    model: String,
}

impl Args {
    /// Whether it ends in a server, which logs as its configuration says.
    pub(crate) fn serves(&self) -> bool {
        self.render.is_none()
    }
}

/// Writes what is missing, then renders or serves.
pub(crate) fn run(global: &Global, args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    write_avatars(args, output)?;
    let (config, origin) = demo::config(&global.config, &args.folder)
        .or_hint("name another file with --config; if it is not there, it is written")?;
    let path = global.config.display();
    match origin {
        Origin::Written => output.status(format_args!("wrote {path}")),
        Origin::Found => output.detail(format_args!("using {path}")),
        Origin::BuiltIn => output.warning(format_args!(
            "{path} does not list the avatars in {}: going on without it, with the settings of the demo",
            args.folder.display()
        )),
    }
    match &args.render {
        Some(film) => {
            let job = Job {
                model: args.model.clone(),
                speech: Speech::sample()?,
                start_frame: 0,
                target: Target::Mp4(film.clone()),
            };
            let report = offline::render(&config, &job, output)?;
            output.result(&report, || report.human())?;
            output.hint(format_args!(
                "any speech will do: lipsync infer --model {} --audio speech.wav --out {}",
                args.model,
                film.display()
            ));
            Ok(ExitCode::SUCCESS)
        }
        None => serve::run_config(config, global, &serve::Args::default(), output, NEXT),
    }
}

/// Said when the server is ready.
const NEXT: &str = "now, in another terminal:
  lipsync models list                                     who is there
  lipsync infer --server http://127.0.0.1:50053 --model jane --audio speech.wav --out talk.mp4
or open the HTTP address above in a browser; Ctrl-C ends the server";

/// Writes the avatars that are missing, with a bar.
fn write_avatars(args: &Args, output: &Output) -> anyhow::Result<()> {
    let (folder, frames) = (&args.folder, usize::from(args.frames));
    let bar = output.steps_bar((Who::ALL.len() * frames) as u64);
    bar.set_message("drawing");
    let outcomes = demo::write_avatars(folder, frames, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    for (who, outcome) in outcomes? {
        let path = folder.join(who.name());
        match outcome {
            Outcome::Kept => output.detail(format_args!("kept {}", path.display())),
            Outcome::Written => output.status(format_args!("wrote {}", path.display())),
            Outcome::Repaired => {
                output.status(format_args!("repaired {}", path.display()));
            }
        }
    }
    Ok(())
}
