//! A backend for tests: it does what it is told, when it is told.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::engine::{
    AudioEncoder, Backend, BackendInfo, Batch, Cancel, ExecutionProvider, Generator,
    GeneratorNetwork, InferenceError, SessionOptions,
};
use crate::frame::network_io::{
    AUDIO_LEN, FEATURE_LEN, MEL_WINDOW_LEN, PREDICTION_LEN, VISUAL_LEN,
};

/// How a run of the fake ends. A run without one of these predicts, for each frame, its first visual float plus its
/// first audio float, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Predicts.
    Predict,
    /// Fails as an engine does.
    Fail,
    /// Panics.
    Panic,
    /// Predicts NaN.
    NotANumber,
    /// Hangs until it is cancelled.
    HangUntilCancelled,
    /// Hangs until [`Fake::release_hanging`], whatever it is told.
    Hang,
}

/// A backend whose runs the test controls.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    control: Arc<Control>,
    info: BackendInfo,
}

#[derive(Debug, Default)]
struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    max_batch: usize,
    paused: bool,
    opens_paused: bool,
    released: bool,
    behaviours: VecDeque<Behaviour>,
    fail_open: Option<String>,
    opened: usize,
    alive: usize,
    started: usize,
    /// The first visual float of each frame, run by run.
    runs: Vec<Vec<f32>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            max_batch: usize::MAX,
            paused: false,
            opens_paused: false,
            released: false,
            behaviours: VecDeque::new(),
            fail_open: None,
            opened: 0,
            alive: 0,
            started: 0,
            runs: Vec::new(),
        }
    }
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) {
        let state = self.lock();
        drop(
            self.changed
                .wait_while(state, |state| condition(state))
                .unwrap(),
        );
    }
}

#[allow(
    dead_code,
    reason = "tests of several modules share it, none uses all of it"
)]
impl Fake {
    /// A fake that predicts at once.
    pub(crate) fn new() -> Self {
        Self {
            control: Arc::default(),
            info: BackendInfo {
                name: "fake",
                version: "0".to_owned(),
                library: None,
                providers: vec![ExecutionProvider::Cpu],
                skipped: Vec::new(),
                note: None,
            },
        }
    }

    /// The most frames a run takes, as the network would say.
    pub(crate) fn set_max_batch(&self, frames: usize) {
        self.control.change(|state| state.max_batch = frames);
    }

    /// Runs that start from now on wait for [`resume`](Self::resume).
    pub(crate) fn pause(&self) {
        self.control.change(|state| state.paused = true);
    }

    /// Lets paused runs go on.
    pub(crate) fn resume(&self) {
        self.control.change(|state| state.paused = false);
    }

    /// `open_generator` waits for [`resume_opens`](Self::resume_opens).
    pub(crate) fn pause_opens(&self) {
        self.control.change(|state| state.opens_paused = true);
    }

    /// Lets `open_generator` go on.
    pub(crate) fn resume_opens(&self) {
        self.control.change(|state| state.opens_paused = false);
    }

    /// The next runs behave so, in this order.
    pub(crate) fn behave(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.control
            .change(|state| state.behaviours.extend(behaviours));
    }

    /// Opening a generator or a session fails with this reason, or works again.
    pub(crate) fn fail_opening(&self, reason: Option<&str>) {
        self.control
            .change(|state| state.fail_open = reason.map(str::to_owned));
    }

    /// Lets runs that [`Behaviour::Hang`] end.
    pub(crate) fn release_hanging(&self) {
        self.control.change(|state| state.released = true);
    }

    /// Blocks until this many runs have started since the fake was made.
    pub(crate) fn wait_for_runs(&self, count: usize) {
        self.control.wait_while(|state| state.started < count);
    }

    /// The first visual float of each frame of each run that has started.
    pub(crate) fn runs(&self) -> Vec<Vec<f32>> {
        self.control.lock().runs.clone()
    }

    /// Sessions opened since the fake was made.
    pub(crate) fn sessions_opened(&self) -> usize {
        self.control.lock().opened
    }

    /// Sessions that have not been dropped.
    pub(crate) fn sessions_alive(&self) -> usize {
        self.control.lock().alive
    }
}

impl Backend for Fake {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn open_generator(
        &self,
        path: &Path,
        _options: &SessionOptions,
    ) -> Result<Arc<dyn GeneratorNetwork>, InferenceError> {
        self.control.wait_while(|state| state.opens_paused);
        let network = FakeNetwork {
            control: Arc::clone(&self.control),
            path: path.to_path_buf(),
        };
        network.refuse_if_told()?;
        Ok(Arc::new(network))
    }

    fn open_audio_encoder(
        &self,
        path: &Path,
        _options: &SessionOptions,
    ) -> Result<Box<dyn AudioEncoder>, InferenceError> {
        let network = FakeNetwork {
            control: Arc::clone(&self.control),
            path: path.to_path_buf(),
        };
        network.refuse_if_told()?;
        Ok(Box::new(FakeEncoder))
    }
}

#[derive(Debug)]
struct FakeNetwork {
    control: Arc<Control>,
    path: PathBuf,
}

impl FakeNetwork {
    fn refuse_if_told(&self) -> Result<(), InferenceError> {
        match self.control.lock().fail_open.clone() {
            None => Ok(()),
            Some(reason) => Err(InferenceError::Load {
                path: self.path.clone(),
                engine: "fake",
                reason,
            }),
        }
    }
}

impl GeneratorNetwork for FakeNetwork {
    fn path(&self) -> &Path {
        &self.path
    }

    fn max_batch(&self) -> usize {
        self.control.lock().max_batch
    }

    fn open_session(&self) -> Result<Box<dyn Generator>, InferenceError> {
        self.refuse_if_told()?;
        self.control.change(|state| {
            state.opened += 1;
            state.alive += 1;
        });
        Ok(Box::new(FakeSession {
            control: Arc::clone(&self.control),
            path: self.path.clone(),
        }))
    }
}

struct FakeSession {
    control: Arc<Control>,
    path: PathBuf,
}

impl Drop for FakeSession {
    fn drop(&mut self) {
        self.control.change(|state| state.alive -= 1);
    }
}

impl FakeSession {
    /// Waits for the condition to end, or for the cancel.
    fn wait_cancellable(&self, cancel: &Cancel, condition: impl Fn(&State) -> bool) {
        let control = Arc::clone(&self.control);
        // The hook takes the lock so that it cannot fall between the test below and the wait.
        let wake = move || control.change(|_| ());
        cancel.while_running(wake, || {
            self.control
                .wait_while(|state| condition(state) && !cancel.is_cancelled());
        });
    }
}

impl Generator for FakeSession {
    fn run(
        &mut self,
        batch: &Batch<'_>,
        output: &mut [f32],
        cancel: &Cancel,
    ) -> Result<(), InferenceError> {
        batch.check(output)?;
        let firsts: Vec<f32> = batch
            .visual
            .chunks(VISUAL_LEN)
            .map(|frame| frame[0])
            .collect();
        let mut behaviour = Behaviour::Predict;
        self.control.change(|state| {
            behaviour = state.behaviours.pop_front().unwrap_or(behaviour);
            state.started += 1;
            state.runs.push(firsts);
        });
        self.wait_cancellable(cancel, |state| state.paused);
        match behaviour {
            Behaviour::Predict | Behaviour::NotANumber => {}
            Behaviour::Fail => {
                return Err(InferenceError::Run {
                    path: self.path.clone(),
                    reason: "the fake was told to fail".to_owned(),
                });
            }
            Behaviour::Panic => panic!("the fake was told to panic"),
            Behaviour::HangUntilCancelled => self.wait_cancellable(cancel, |_| true),
            Behaviour::Hang => self.control.wait_while(|state| !state.released),
        }
        if cancel.is_cancelled() {
            return Err(InferenceError::Cancelled);
        }
        let frames = output
            .chunks_mut(PREDICTION_LEN)
            .zip(batch.visual.chunks(VISUAL_LEN))
            .zip(batch.audio.chunks(AUDIO_LEN));
        for ((output, visual), audio) in frames {
            output.fill(if behaviour == Behaviour::NotANumber {
                f32::NAN
            } else {
                visual[0] + audio[0]
            });
        }
        Ok(())
    }
}

/// Each feature is its window's first float, everywhere.
struct FakeEncoder;

impl AudioEncoder for FakeEncoder {
    fn run(
        &mut self,
        mel: &[f32],
        windows: usize,
        output: &mut [f32],
    ) -> Result<(), InferenceError> {
        crate::engine::network::check_length(
            "the mel tensor",
            mel.len(),
            windows * MEL_WINDOW_LEN,
        )?;
        crate::engine::network::check_length("the features", output.len(), windows * FEATURE_LEN)?;
        for (feature, window) in output
            .chunks_mut(FEATURE_LEN)
            .zip(mel.chunks(MEL_WINDOW_LEN))
        {
            feature.fill(window[0]);
        }
        Ok(())
    }
}
