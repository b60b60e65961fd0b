//! The measuring itself: callers that ask for batch after batch.

use std::time::{Duration, Instant};

use futures::future::try_join_all;

use super::target::Target;
use crate::defaults::BATCH_FRAMES_MAX;
use crate::pipeline::FrameTimings;

/// Frames of the avatar that are shown again and again; their pictures are decoded before.
const FRAMES_SHOWN: u64 = 50;

/// Where warming up ends in any case.
const WARM_UP_MAX: Duration = Duration::from_mins(1);
/// Between two rounds of warming up.
const WARM_UP_PAUSE: Duration = Duration::from_millis(300);

/// When a caller has asked often enough.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// After this long.
    Time(Duration),
    /// After so many batches.
    Batches(u32),
}

/// What callers got.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) callers: usize,
    pub(super) frames: u64,
    /// From the first question to the last answer.
    pub(super) elapsed: Duration,
    /// What each batch took.
    pub(super) times: Vec<Duration>,
    /// Time in each stage, summed over the frames.
    pub(super) timings: FrameTimings,
}

/// Shows every frame until they come no faster: the model is loaded then, its pictures are decoded and prepared, its
/// pools full. A server does not tell when its pictures are prepared, so two rounds without gain have to do.
pub(super) async fn warm_up(target: &Target) -> anyhow::Result<()> {
    let started = Instant::now();
    let (mut best, mut without_gain) = (Duration::MAX, 0);
    while started.elapsed() < WARM_UP_MAX && (without_gain < 2 || !target.is_prepared()) {
        let round = Instant::now();
        show_all(target).await?;
        let took = round.elapsed();
        without_gain = if took < best / 10 * 9 {
            0
        } else {
            without_gain + 1
        };
        best = best.min(took);
        // Pictures are prepared when the cores have time for it.
        tokio::time::sleep(WARM_UP_PAUSE).await;
    }
    Ok(())
}

async fn show_all(target: &Target) -> anyhow::Result<()> {
    let shown = FRAMES_SHOWN.min(target.num_frames);
    let batch_max = u64::from(BATCH_FRAMES_MAX);
    for start in (0..shown).step_by(usize::from(BATCH_FRAMES_MAX)) {
        let batch = (shown - start).min(batch_max);
        target.order(start, batch as usize, 0).make().await?;
    }
    Ok(())
}

/// Lets `callers` ask for batches of `batch` frames at once, each for its next when it has its last.
pub(super) async fn measure(
    target: &Target,
    batch: usize,
    callers: usize,
    bound: Bound,
) -> anyhow::Result<Measured> {
    let started = Instant::now();
    let calls = (0..callers).map(|caller| call(target, batch, caller, bound, started));
    let mut all = Measured {
        callers,
        ..Measured::default()
    };
    for one in try_join_all(calls).await? {
        all.frames += one.frames;
        all.timings += one.timings;
        all.times.extend(one.times);
    }
    all.elapsed = started.elapsed();
    Ok(all)
}

async fn call(
    target: &Target,
    batch: usize,
    caller: usize,
    bound: Bound,
    started: Instant,
) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    let starts = (FRAMES_SHOWN.min(target.num_frames) + 1).saturating_sub(batch as u64);
    for number in 0.. {
        let enough = match bound {
            Bound::Time(time) => number > 0 && started.elapsed() >= time,
            Bound::Batches(batches) => number >= batches,
        };
        if enough {
            break;
        }
        // Callers show different frames, as different viewers would.
        let place = (u64::from(number) + caller as u64 * 7) * batch as u64;
        let order = target.order(place % starts.max(1), batch, caller);
        let asked = Instant::now();
        measured.timings += order.make().await?;
        measured.times.push(asked.elapsed());
        measured.frames += batch as u64;
    }
    Ok(measured)
}
