//! The threads that own a network's sessions, and the queue in front of them.
//!
//! ```text
//! submit ──> fair queue (bounded) ──> session thread 0 ──> FrameTicket
//!                                 └─> session thread 1 ──> FrameTicket
//!                 supervisor: deadlines, hanging runs
//! ```
//!
//! Every promise is about the caller of one frame: it gets its own frame's prediction or one error; a full queue is
//! said at once; a frame whose caller went away or whose deadline passed is dropped before it costs a run, and stops
//! a run that nobody else waits for; the frames of one flow keep their order, and flows share by weight. A session that
//! panics or hangs fails its own frames only and is replaced.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::engine::network::check_length;
use crate::engine::{Backend, InferenceError, Plan, SessionOptions, VisualCacheStats};
use crate::frame::network_io::{AUDIO_LEN, SharedFloats, VISUAL_LEN, Visual};
use shared::Shared;
use state::QueuedFrame;

mod buffers;
mod queue;
mod shared;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;
mod thread;
mod turns;
mod watch;

pub use buffers::Prediction;
pub use turns::{FlowRule, Turns};
pub use watch::WorkersWatch;

/// How many sessions there are and what they may take on.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Sessions, each with its own thread; at least 1.
    pub sessions: usize,
    /// How each session uses the machine.
    pub session: SessionOptions,
    /// Most frames of one run. A network exported with N=1, and the embedded engine, run frame by frame anyway.
    pub max_batch: usize,
    /// How long a frame waits for others to fill its batch. Nothing waits when `max_batch` is 1.
    pub batch_delay: Duration,
    /// Most frames that wait; one more is refused.
    pub queue_frames: usize,
    /// How long a run may take before its session is given up.
    pub hang_timeout: Duration,
    /// How long a run that was told to stop may take to do so before its thread is abandoned.
    pub stop_timeout: Duration,
    /// Where sessions take turns with those of other networks.
    pub turns: Arc<Turns>,
    /// Whether each session runs one black frame when it is opened, so that memory and first-run costs are paid
    /// then and not by the first request.
    pub warm_up: bool,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            sessions: 1,
            session: SessionOptions::default(),
            max_batch: 1,
            batch_delay: Duration::ZERO,
            queue_frames: 256,
            hang_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(2),
            turns: Arc::default(),
            warm_up: true,
        }
    }
}

/// One frame to predict.
#[derive(Clone)]
pub struct FrameInput {
    /// `[6,320,320]`.
    pub visual: Visual,
    /// `[32,16,16]`.
    pub audio: SharedFloats,
    /// Which of the avatar's backgrounds `visual` was made from; `None` if somebody else made it.
    pub background: Option<usize>,
    /// Whose frame it is: flows take turns, the frames of one flow keep their order.
    pub flow: u64,
    /// When its result is of no use any more.
    pub deadline: Option<Instant>,
}

impl FrameInput {
    /// A frame whose tensors are there, of flow 0, without a deadline.
    #[must_use]
    pub fn new(visual: SharedFloats, audio: SharedFloats) -> Self {
        Self {
            visual: Visual::Ready(visual),
            audio,
            background: None,
            flow: 0,
            deadline: None,
        }
    }

    /// The same frame, whose visual tensor was made from a background of the avatar.
    #[must_use]
    pub fn with_background(mut self, background: Option<usize>) -> Self {
        self.background = background;
        self
    }

    /// The same frame in another flow: its tenant's.
    #[must_use]
    pub fn with_flow(mut self, flow: u64) -> Self {
        self.flow = flow;
        self
    }

    /// The same frame with a deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }
}

impl fmt::Debug for FrameInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameInput")
            .field("background", &self.background)
            .field("flow", &self.flow)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// What the workers of one network have done and are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Sessions there should be.
    pub sessions: usize,
    /// Sessions that are running a batch.
    pub busy: usize,
    /// Frames that wait.
    pub queued: usize,
    /// Frames predicted.
    pub frames: u64,
    /// Runs that predicted them.
    pub batches: u64,
    /// Time spent in those runs, without queueing.
    pub inference: Duration,
    /// Frames dropped because their caller went away or their deadline passed.
    pub dropped: u64,
    /// Sessions replaced after a panic or a hang.
    pub replaced: u64,
    /// What the network keeps of each background; zeros if it runs whole.
    pub visual_cache: VisualCacheStats,
}

/// The sessions of one network on their threads. Dropping it fails what is queued, stops what runs and waits for the
/// threads, at most [`WorkerOptions::stop_timeout`]; do that off the async threads.
pub struct Workers {
    shared: Arc<Shared>,
}

impl Workers {
    /// Opens the network and all its sessions. Blocks; call it off the async threads.
    ///
    /// # Errors
    /// When the network is refused ([`Backend::open_generator`]), a session cannot be opened, or its warm-up fails.
    pub fn spawn(
        backend: &dyn Backend,
        network: &Path,
        options: WorkerOptions,
    ) -> Result<Self, InferenceError> {
        let network = backend.open_generator(network, &options.session)?;
        let shared = Arc::new(Shared::new(network, options));
        // From here on a failure drops `workers`, which ends the threads already started.
        let workers = Self { shared };
        thread::start_all(&workers.shared)?;
        supervisor::start(&workers.shared)?;
        Ok(workers)
    }

    /// Queues a frame now and gives the ticket that resolves to its prediction.
    ///
    /// # Errors
    /// At once when a tensor's length is wrong, the deadline has passed, the queue is full or no session is left.
    pub fn submit(&self, frame: FrameInput) -> Result<FrameTicket, InferenceError> {
        if let Visual::Ready(visual) = &frame.visual {
            check_length("the visual tensor", (**visual).as_ref().len(), VISUAL_LEN)?;
        }
        check_length("the audio tensor", (*frame.audio).as_ref().len(), AUDIO_LEN)?;
        let (reply, receiver) = oneshot::channel();
        let flow = frame.flow;
        let id = self.shared.enqueue(QueuedFrame {
            frame,
            reply,
            queued_at: Instant::now(),
        })?;
        Ok(FrameTicket {
            receiver,
            shared: Arc::clone(&self.shared),
            flow,
            id,
            done: false,
        })
    }

    /// Predicts one frame. Dropping the future drops the frame.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and what the run itself ends with.
    pub async fn infer(&self, frame: FrameInput) -> Result<Prediction, InferenceError> {
        self.submit(frame)?.await
    }

    /// What the workers have done and are doing.
    #[must_use]
    pub fn stats(&self) -> WorkerStats {
        self.watch().stats()
    }

    /// Reads the same figures without keeping the workers alive.
    #[must_use]
    pub fn watch(&self) -> WorkersWatch {
        self.shared.watch()
    }

    /// By which plan the network runs.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.shared.network().plan()
    }

    /// What the network keeps of each background; `None` if it runs whole.
    #[must_use]
    pub fn visual_cache(&self) -> Option<VisualCacheStats> {
        self.shared.network().visual_cache()
    }

    /// Most frames of one run, given the options, the network and the engine.
    #[must_use]
    pub fn max_batch(&self) -> usize {
        self.shared.max_batch()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("network", &self.shared.network().path())
            .field("stats", &self.stats())
            .finish()
    }
}

/// A queued frame; a future of its prediction. Dropping it drops the frame.
pub struct FrameTicket {
    receiver: oneshot::Receiver<Result<Prediction, InferenceError>>,
    shared: Arc<Shared>,
    flow: u64,
    id: u64,
    done: bool,
}

impl Future for FrameTicket {
    type Output = Result<Prediction, InferenceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(cx).map(|result| {
            self.done = true;
            // A reply is only dropped unsent when the workers close.
            result.unwrap_or(Err(InferenceError::Cancelled))
        })
    }
}

impl Drop for FrameTicket {
    fn drop(&mut self) {
        if !self.done {
            self.shared.abandon(self.flow, self.id);
        }
    }
}

impl fmt::Debug for FrameTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameTicket")
            .field("flow", &self.flow)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
