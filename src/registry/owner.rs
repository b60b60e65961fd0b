//! The one owner of every lifecycle: moves messages, threads and time in and out of the [`Ledger`].
//!
//! It waits for four things only: a command, the end of a job, a wake-up (a last lease ended, a caller gave up), and
//! the next moment at which time alone changes something. It never waits for a load.

use std::future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::panics;
use crate::registry::error::ConfigureError;
use crate::registry::lease::Lease;
use crate::registry::ledger::entry::{Answer, Moment, Reply};
use crate::registry::ledger::{Done, Job, Ledger};
use crate::registry::limits::Limits;
use crate::registry::loader::{Load, LoadError, ModelSpec};
use crate::registry::snapshot::Published;
use crate::registry::{LoadMode, LoadReport, ReconfigureReport};

/// What callers ask of the owner.
pub(super) enum Command<L: Load> {
    Lease {
        id: Arc<str>,
        reply: Reply<Lease<L::Model>>,
    },
    Load {
        id: Arc<str>,
        mode: LoadMode,
        reply: Reply<LoadReport>,
    },
    Preload {
        id: Arc<str>,
        reply: Reply<LoadReport>,
    },
    Unload {
        id: Arc<str>,
        reply: Reply<()>,
    },
    Reconfigure {
        specs: Vec<ModelSpec<L::Spec>>,
        limits: Limits,
        reply: oneshot::Sender<Result<ReconfigureReport, ConfigureError>>,
    },
    Shutdown {
        reply: oneshot::Sender<()>,
    },
}

/// Starts the owner task.
pub(super) fn start<L: Load>(
    loader: L,
    specs: Vec<ModelSpec<L::Spec>>,
    limits: Limits,
    mailbox: mpsc::Receiver<Command<L>>,
    wake: Arc<Notify>,
) -> Result<watch::Receiver<Arc<Published<L::Spec>>>, ConfigureError> {
    let ledger = Ledger::new(specs, limits, Arc::clone(&wake), moment())?;
    let (publish, published) = watch::channel(Arc::new(Published::new(&ledger, moment())));
    let owner = Owner {
        loader: Arc::new(loader),
        ledger,
        mailbox,
        handles_gone: false,
        wake,
        jobs: JoinSet::new(),
        publish,
        published_changes: 0,
    };
    tokio::spawn(owner.run());
    Ok(published)
}

struct Owner<L: Load> {
    loader: Arc<L>,
    ledger: Ledger<L>,
    mailbox: mpsc::Receiver<Command<L>>,
    handles_gone: bool,
    wake: Arc<Notify>,
    /// Bounded by `max_parallel_loads` plus one drop for each generation.
    jobs: JoinSet<Done<L>>,
    publish: watch::Sender<Arc<Published<L::Spec>>>,
    published_changes: u64,
}

impl<L: Load> Owner<L> {
    async fn run(mut self) {
        let wake = Arc::clone(&self.wake);
        while !self.ledger.ended() || !self.jobs.is_empty() {
            let next_wake = self.ledger.next_wake();
            tokio::select! {
                command = self.mailbox.recv(), if !self.handles_gone => {
                    if let Some(command) = command {
                        self.obey(command);
                    } else {
                        // All handles are gone: nobody can ask for anything any more, but leases may live on.
                        self.handles_gone = true;
                        self.ledger.shut_down(None);
                    }
                }
                Some(done) = self.jobs.join_next() => match done {
                    Ok(done) => self.ledger.finished(done, moment()),
                    // Jobs catch their own panics and are never aborted but with the runtime, which ends us too.
                    Err(error) => tracing::error!(%error, "a registry job was cancelled"),
                },
                () = wake.notified() => {}
                () = sleep_until(next_wake) => {}
            }
            self.ledger.settle(moment());
            while let Some(job) = self.ledger.next_job() {
                let loader = Arc::clone(&self.loader);
                self.jobs.spawn_blocking(move || run_job(&*loader, job));
            }
            if self.ledger.changes != self.published_changes {
                self.published_changes = self.ledger.changes;
                let picture = Published::new(&self.ledger, moment());
                self.publish.send_replace(Arc::new(picture));
            }
            // Answers go out after the picture, so that callers read what they caused.
            for answer in self.ledger.outbox.drain(..) {
                answer.send();
            }
        }
    }

    fn obey(&mut self, command: Command<L>) {
        let ledger = &mut self.ledger;
        match command {
            Command::Lease { id, reply } => ledger.lease(&id, reply, moment()),
            Command::Load { id, mode, reply } => {
                ledger.load(&id, mode, Answer::Load(reply), moment());
            }
            Command::Preload { id, reply } => {
                ledger.load(&id, LoadMode::IfAbsent, Answer::Preload(reply), moment());
            }
            Command::Unload { id, reply } => ledger.unload(&id, reply),
            Command::Reconfigure {
                specs,
                limits,
                reply,
            } => ledger.reconfigure(specs, limits, reply, moment()),
            Command::Shutdown { reply } => ledger.shut_down(Some(reply)),
        }
    }
}

/// The runtime's clock, which tests can stop.
fn moment() -> Moment {
    Moment {
        at: tokio::time::Instant::now().into_std(),
        wall: SystemTime::now(),
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => future::pending().await,
    }
}

/// Runs on a blocking thread. A panic of the loader is a failed load, not a stuck model.
fn run_job<L: Load>(loader: &L, job: Job<L>) -> Done<L> {
    let start = Instant::now();
    match job {
        Job::Validate(spec) => {
            let result = caught(&spec.id, || loader.validate(&spec));
            let (id, took) = (Arc::clone(&spec.id), start.elapsed());
            Done::Validated { id, result, took }
        }
        Job::Load(spec) => {
            let result = caught(&spec.id, || loader.load(&spec));
            let (id, took) = (Arc::clone(&spec.id), start.elapsed());
            Done::Loaded { id, result, took }
        }
        Job::Drop { id, number, model } => {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(model))) {
                tracing::error!(model = %id, panic = panics::text(&*panic), "unloading model panicked");
            }
            loader.dropped();
            Done::Dropped { id, number }
        }
    }
}

fn caught<T>(id: &str, work: impl FnOnce() -> Result<T, LoadError>) -> Result<T, LoadError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panics::text(&*panic).to_owned();
        Err(LoadError::new(
            format!("loading model {id:?} crashed"),
            text,
        ))
    })
}
