//! A thread that owns one session: it takes frames, runs them and answers, and survives a panic of the engine.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::{Batch, Cancel, Generator, InferenceError};
use crate::frame::network_io::{AUDIO_LEN, PREDICTION_LEN, VISUAL_LEN, Visual};
use crate::workers::FrameInput;
use crate::workers::shared::{Shared, ThreadGuard};
use crate::workers::state::{RunTimes, Taken, Vacancy};

/// The first wait before another attempt to open a session that could not be opened; it doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// Starts a thread a session and waits until each has opened its own.
pub(super) fn start_all(shared: &Arc<Shared>) -> Result<(), InferenceError> {
    let sessions = shared.options().sessions.max(1);
    let (report, reports) = sync_channel(sessions);
    for slot in 0..sessions {
        start(shared, slot, 0, Some(report.clone()))?;
    }
    drop(report);
    // Each thread lets go of the channel when it has reported, so this ends with the last of them.
    reports.into_iter().collect()
}

/// Starts a thread in a slot whose thread was given up.
pub(super) fn start_replacement(shared: &Arc<Shared>, vacancy: &Vacancy) {
    if let Err(error) = start(shared, vacancy.slot, vacancy.generation, None) {
        shared.set_down(vacancy.slot, vacancy.generation, Some(error.to_string()));
    }
}

type Report = SyncSender<Result<(), InferenceError>>;

fn start(
    shared: &Arc<Shared>,
    slot: usize,
    generation: u64,
    report: Option<Report>,
) -> Result<(), InferenceError> {
    let guard = shared.thread_starts();
    let worker = Worker {
        shared: Arc::clone(shared),
        slot,
        generation,
        _guard: guard,
    };
    thread::Builder::new()
        .name(format!("infer-{slot}"))
        .spawn(move || worker.run(report))
        .map_err(|source| InferenceError::Thread {
            source: Arc::new(source),
        })?;
    Ok(())
}

struct Worker {
    shared: Arc<Shared>,
    slot: usize,
    generation: u64,
    /// Dropped last, after the session.
    _guard: ThreadGuard,
}

impl Worker {
    fn run(self, report: Option<Report>) {
        let mut session = match (self.open(), report) {
            (Ok(session), Some(report)) => {
                let _ = report.send(Ok(()));
                session
            }
            (Ok(session), None) => session,
            (Err(error), Some(report)) => {
                let _ = report.send(Err(error));
                return;
            }
            (Err(error), None) => match self.reopen(error) {
                Some(session) => session,
                None => return,
            },
        };
        let mut gathered = Gathered::default();
        while let Some(taken) = self.shared.take(self.slot, self.generation) {
            let mut buffer = self.shared.buffer(taken.frames.len());
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                gathered.run(&mut *session, &taken, &mut buffer.floats)
            }));
            let (outcome, times, panicked) = match outcome {
                Ok((result, times)) => (result.map(|()| buffer), times, false),
                Err(panic) => (Err(self.panicked(&*panic)), RunTimes::default(), true),
            };
            if !self
                .shared
                .finish(self.slot, self.generation, outcome, times)
            {
                return;
            }
            if panicked {
                // What a panic left behind is not trusted, not even to be dropped in peace.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(session)));
                session = match self.open() {
                    Ok(session) => session,
                    Err(error) => match self.reopen(error) {
                        Some(session) => session,
                        None => return,
                    },
                };
            }
        }
    }

    /// Opens a session and warms it up.
    fn open(&self) -> Result<Box<dyn Generator>, InferenceError> {
        let open = || {
            let mut session = self.shared.network().open_session()?;
            if self.shared.options().warm_up {
                warm_up(&mut *session)?;
            }
            Ok(session)
        };
        catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| Err(self.panicked(&*panic)))
    }

    /// Tries again until a session opens; `None` when the thread must end.
    fn reopen(&self, mut error: InferenceError) -> Option<Box<dyn Generator>> {
        let mut delay = RETRY_FIRST;
        loop {
            tracing::error!(%error, slot = self.slot, "cannot open another inference session");
            self.shared
                .set_down(self.slot, self.generation, Some(error.to_string()));
            if !self.shared.wait_to_retry(self.slot, self.generation, delay) {
                return None;
            }
            match self.open() {
                Ok(session) => {
                    self.shared.set_down(self.slot, self.generation, None);
                    return Some(session);
                }
                Err(again) => error = again,
            }
            delay = (delay * 2).min(RETRY_LONGEST);
        }
    }

    fn panicked(&self, panic: &(dyn Any + Send)) -> InferenceError {
        let error = InferenceError::WorkerPanicked {
            path: self.shared.network().path().to_path_buf(),
            reason: crate::panics::text(panic).to_owned(),
        };
        tracing::error!(%error, slot = self.slot, "replacing an inference session");
        error
    }
}

/// One black, silent frame.
fn warm_up(session: &mut dyn Generator) -> Result<(), InferenceError> {
    let visual = vec![0.0; VISUAL_LEN];
    let audio = vec![0.0; AUDIO_LEN];
    let batch = Batch {
        frames: 1,
        visual: &visual,
        audio: &audio,
        backgrounds: &[],
    };
    session.run(&batch, &mut vec![0.0; PREDICTION_LEN], &Cancel::new())
}

/// The inputs of a batch, laid end to end. A single frame's tensors that are there already are read where they are.
#[derive(Default)]
struct Gathered {
    visual: Vec<f32>,
    audio: Vec<f32>,
    backgrounds: Vec<Option<usize>>,
}

impl Gathered {
    /// Runs the batch.
    fn run(
        &mut self,
        session: &mut dyn Generator,
        taken: &Taken,
        output: &mut [f32],
    ) -> (Result<(), InferenceError>, RunTimes) {
        let began = Instant::now();
        let batch = self.gather(&taken.frames);
        let visual = began.elapsed();
        let started = Instant::now();
        let result = session.run(&batch, output, &taken.cancel);
        let times = RunTimes {
            visual,
            inference: started.elapsed(),
        };
        (result, times)
    }

    fn gather<'a>(&'a mut self, frames: &'a [FrameInput]) -> Batch<'a> {
        self.backgrounds.clear();
        self.backgrounds
            .extend(frames.iter().map(|frame| frame.background));
        if let [frame] = frames {
            let visual = match &frame.visual {
                Visual::Ready(visual) => (**visual).as_ref(),
                Visual::Made(source) => {
                    self.visual.resize(VISUAL_LEN, 0.0);
                    source.write(&mut self.visual);
                    &self.visual
                }
            };
            return Batch {
                frames: 1,
                visual,
                audio: (*frame.audio).as_ref(),
                backgrounds: &self.backgrounds,
            };
        }
        self.visual.resize(frames.len() * VISUAL_LEN, 0.0);
        self.audio.clear();
        for (frame, out) in frames.iter().zip(self.visual.chunks_exact_mut(VISUAL_LEN)) {
            match &frame.visual {
                Visual::Ready(visual) => out.copy_from_slice((**visual).as_ref()),
                Visual::Made(source) => source.write(out),
            }
            self.audio.extend_from_slice((*frame.audio).as_ref());
        }
        Batch {
            frames: frames.len(),
            visual: &self.visual,
            audio: &self.audio,
            backgrounds: &self.backgrounds,
        }
    }
}
