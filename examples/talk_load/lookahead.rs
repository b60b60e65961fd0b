//! What a reduced lookahead costs: its mouths against those of the full one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use lipsync::avatar::crop_rects::CropRects;
use lipsync::cli::output::table;
use lipsync::frame::{Frame, Size};
use lipsync::wire::multi_tenant_lip_sync_client::MultiTenantLipSyncClient;
use lipsync::wire::talk_frame::Kind;
use lipsync::wire::talk_response::Message as Told;
use lipsync::wire::{ImageFormat, ListModelsRequest, TalkFrame, TalkStart};
use serde::Serialize;
use tonic::transport::Channel;

use crate::ServerArgs;
use crate::figures::correlation;
use crate::stream;

/// What a reduced lookahead costs: the mouths of the sample against those of the full lookahead
///
/// The whole sample is sent at once for each lookahead, unpaced, and comes back as RGB. `PSNR` is taken inside the crop
/// rect, over all frames together and for the frame that differs most. `opening` is how much a frame's rect differs
/// from the background's own (mean of the absolute differences): a curve of the mouth. `lag` is the shift in frames by
/// which that curve fits the full lookahead's best (positive: the mouth is later), `r` their correlation at that shift
/// and `r at 0` without one, `range` how far the curve swings (standard deviation) relative to the full one's: below 1
/// the mouth moves less.
#[derive(Clone, Debug, Args)]
pub(crate) struct LookaheadArgs {
    /// Lookaheads to compare with 8
    #[arg(long, value_delimiter = ',', default_value = "6,4,2,1,0", value_parser = clap::value_parser!(i32).range(0..=7))]
    lookahead: Vec<i32>,
    /// The avatar's crop rects; otherwise the server tells where the file is
    #[arg(long, value_name = "FILE")]
    rects: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Costs {
    model: String,
    frames: usize,
    lookaheads: Vec<Cost>,
}

/// One lookahead against the full one.
#[derive(Debug, Serialize)]
struct Cost {
    lookahead: i32,
    psnr_db: f64,
    worst_psnr_db: f64,
    lag_frames: f64,
    r: f64,
    r_at_0: f64,
    range: f64,
}

/// Shifts tried, in frames to each side.
const SHIFT_MAX: i32 = 8;
/// Bounds the search for the backgrounds' own rects: two rounds of a thousand of them.
const IDLE_FRAMES_MAX: usize = 2000;
/// Two equal pictures, in decibels.
const PSNR_MAX: f64 = 99.0;

/// A frame's rect, and the background it was painted on.
struct Mouth {
    background: i32,
    pixels: Vec<u8>,
}

/// Cuts rects out of frames.
struct Scissors {
    rects: CropRects,
    size: Size,
}

impl Scissors {
    fn cut(&self, frame: &TalkFrame) -> Result<Mouth> {
        let rect = usize::try_from(frame.background_index).ok();
        let rect = rect.and_then(|index| self.rects.get(index));
        let rect = rect.context("the rects are of another avatar: a background has none")?;
        ensure!(rect.fits(self.size), "rect {rect} lies outside the frame");
        let pixels = Frame::from_rgb(self.size, frame.image.to_vec());
        let pixels = pixels.context("a frame is not as large as the server said")?;
        Ok(Mouth {
            background: frame.background_index,
            pixels: pixels.cut(rect).data().to_vec(),
        })
    }
}

pub(crate) async fn run(server: &ServerArgs, args: &LookaheadArgs) -> Result<Costs> {
    let channel = stream::connect(&server.server).await?;
    let path = match &args.rects {
        Some(path) => path.clone(),
        None => rects_path(&channel, &server.model).await?,
    };
    let rects = &CropRects::load(&path)
        .with_context(|| format!("give --rects: {} is the server's own path", path.display()))?;
    let full = speak(&channel, &server.model, rects, 8).await?;
    let own = backgrounds(&channel, &server.model, rects, &full).await?;
    let full_openings = openings(&full, &own)?;
    let mut lookaheads = Vec::new();
    for &lookahead in &args.lookahead {
        let reduced = speak(&channel, &server.model, rects, lookahead).await?;
        ensure!(
            reduced.len() == full.len(),
            "{} frames, not {}",
            reduced.len(),
            full.len()
        );
        let squares: Vec<f64> = full.iter().zip(&reduced).map(mean_square).collect();
        let mean = squares.iter().sum::<f64>() / squares.len() as f64;
        let openings = openings(&reduced, &own)?;
        let (lag_frames, r) = lag(&full_openings, &openings);
        lookaheads.push(Cost {
            lookahead,
            psnr_db: psnr(mean),
            worst_psnr_db: psnr(squares.iter().copied().fold(0.0, f64::max)),
            lag_frames,
            r,
            r_at_0: correlation(&full_openings, &openings),
            range: deviation(&openings) / deviation(&full_openings),
        });
    }
    Ok(Costs {
        model: server.model.clone(),
        frames: full.len(),
        lookaheads,
    })
}

/// Where the server has the rects.
async fn rects_path(channel: &Channel, model: &str) -> Result<PathBuf> {
    let models = MultiTenantLipSyncClient::new(channel.clone())
        .list_models(ListModelsRequest {})
        .await?
        .into_inner()
        .models;
    let told = models.into_iter().find(|told| told.model_id == model);
    let told = told.with_context(|| format!("the server knows no model {model}"))?;
    ensure!(
        !told.crop_rects_path.is_empty(),
        "the server does not tell where the crop rects are: give --rects"
    );
    Ok(Path::new(&told.crop_rects_path).to_owned())
}

/// The sample's mouths.
async fn speak(
    channel: &Channel,
    model: &str,
    rects: &CropRects,
    lookahead: i32,
) -> Result<Vec<Mouth>> {
    let start = TalkStart {
        output_format: ImageFormat::Rgb.into(),
        lookahead: Some(lookahead),
        ..stream::start(model)
    };
    let (voice, mut talk) = stream::open(channel, start).await?;
    voice.say(stream::sample()?).await;
    voice.end_of_speech().await;
    drop(voice);
    let mut mouths = Vec::new();
    let mut scissors = None;
    while let Some(told) = talk.next().await? {
        match (told, &scissors) {
            (Told::Started(started), _) => scissors = Some(self::scissors(&started, rects)),
            (Told::Frame(frame), Some(scissors)) => mouths.push(scissors.cut(&frame)?),
            _ => (),
        }
    }
    ensure!(!mouths.is_empty(), "no frame came");
    Ok(mouths)
}

fn scissors(started: &lipsync::wire::TalkStarted, rects: &CropRects) -> Scissors {
    Scissors {
        rects: rects.clone(),
        size: Size {
            width: started.width.unsigned_abs(),
            height: started.height.unsigned_abs(),
        },
    }
}

/// The backgrounds' own rects, from idle frames.
async fn backgrounds(
    channel: &Channel,
    model: &str,
    rects: &CropRects,
    mouths: &[Mouth],
) -> Result<BTreeMap<i32, Vec<u8>>> {
    let start = TalkStart {
        output_format: ImageFormat::Rgb.into(),
        realtime: true,
        ..stream::start(model)
    };
    let (_voice, mut talk) = stream::open(channel, start).await?;
    let (mut own, mut scissors) = (BTreeMap::new(), None);
    let missing = |own: &BTreeMap<i32, Vec<u8>>| {
        mouths
            .iter()
            .any(|mouth| !own.contains_key(&mouth.background))
    };
    let mut frames = 0;
    while missing(&own) {
        match (talk.more().await?, &scissors) {
            (Told::Started(started), _) => scissors = Some(self::scissors(&started, rects)),
            (Told::Frame(frame), Some(scissors)) if frame.kind() == Kind::Idle => {
                frames += 1;
                ensure!(frames < IDLE_FRAMES_MAX, "not every background was shown");
                let mouth = scissors.cut(&frame)?;
                own.insert(mouth.background, mouth.pixels);
            }
            _ => (),
        }
    }
    Ok(own)
}

/// How much each frame differs from its background.
fn openings(mouths: &[Mouth], own: &BTreeMap<i32, Vec<u8>>) -> Result<Vec<f64>> {
    let opening = |mouth: &Mouth| {
        let own = own
            .get(&mouth.background)
            .context("a background is missing")?;
        let pixels = mouth.pixels.iter().zip(own);
        let sum: u64 = pixels.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        Ok(sum as f64 / own.len() as f64)
    };
    mouths.iter().map(opening).collect()
}

fn mean_square((a, b): (&Mouth, &Mouth)) -> f64 {
    let pixels = a.pixels.iter().zip(&b.pixels);
    let sum: u64 = pixels.map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    sum as f64 / a.pixels.len() as f64
}

fn psnr(mean_square: f64) -> f64 {
    (10.0 * (255.0 * 255.0 / mean_square).log10()).min(PSNR_MAX)
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (squares.sum::<f64>() / values.len() as f64).sqrt()
}

/// The shift by which `curve` fits `reference` best, refined by a parabola through its neighbours, and the correlation
/// at the whole shift.
fn lag(reference: &[f64], curve: &[f64]) -> (f64, f64) {
    let at = |shift: i32| {
        let by = shift.unsigned_abs() as usize;
        let length = reference.len().saturating_sub(by);
        if shift >= 0 {
            correlation(&reference[..length], &curve[by..])
        } else {
            correlation(&reference[by..], &curve[..length])
        }
    };
    let bound = SHIFT_MAX.min(reference.len() as i32 / 4);
    let best = (-bound..=bound).max_by(|a, b| at(*a).total_cmp(&at(*b)));
    let best = best.unwrap_or_default();
    let (before, here, after) = (at(best - 1), at(best), at(best + 1));
    let curvature = before - 2.0 * here + after;
    let fine = if curvature < 0.0 {
        0.5 * (before - after) / curvature
    } else {
        0.0
    };
    (f64::from(best) + fine, here)
}

impl Costs {
    pub(crate) fn human(&self) -> String {
        let header = [
            "lookahead",
            "PSNR dB",
            "worst frame",
            "lag frames",
            "r",
            "r at 0",
            "range",
        ];
        let mut table = table(header, 0);
        for cost in &self.lookaheads {
            table.add_row([
                cost.lookahead.to_string(),
                format!("{:.1}", cost.psnr_db),
                format!("{:.1}", cost.worst_psnr_db),
                format!("{:+.2}", cost.lag_frames),
                format!("{:.4}", cost.r),
                format!("{:.4}", cost.r_at_0),
                format!("{:.3}", cost.range),
            ]);
        }
        format!(
            "{}: {} frames inside the rect, against those of the full lookahead\n{table}\n",
            self.model, self.frames
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_that_is_later_has_a_positive_lag() {
        let wave = |shift: f64| -> Vec<f64> {
            (0..200)
                .map(|t| (0.21 * (f64::from(t) - shift)).sin())
                .collect()
        };
        for shift in [-2.0, 0.0, 0.5, 3.0] {
            let (lag, r) = lag(&wave(0.0), &wave(shift));
            assert!((lag - shift).abs() < 0.1 && r > 0.99, "{shift}: {lag} {r}");
        }
    }
}
