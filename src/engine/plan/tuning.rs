//! Chooses a network's plan: pinned by the operator, kept from an earlier measuring, or measured.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::comparison::Probe;
use super::{Plan, cpu_cache, rewritten, store};
use crate::engine::{
    Backend, BackendInfo, ExecutionProvider, Generator, InferenceError, SessionOptions,
};

/// Rounds in which two plans take turns.
const ROUNDS: usize = 8;
/// A plan must be so much faster than the plain one: less is noise.
const GAIN_MIN: f64 = 1.03;
/// Networks of fewer bytes are measured only if that is asked for: their tensors fit any cache, and nothing was gained.
const NETWORK_BYTES_MIN: u64 = 8 << 20;

/// Which plans a network may run by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// The plan, whatever is measured.
    pub pinned: Option<Plan>,
    /// What is measured.
    pub tune: Tune,
    /// Bytes of cache that a session may count on; `None` asks the system.
    pub cache_bytes: Option<u64>,
}

/// Whether plans are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tune {
    /// A few plans, for networks that are large enough to gain.
    Auto,
    /// None: networks run by their own graph.
    #[default]
    Off,
    /// Every plan, for every network.
    Exhaustive,
}

/// What a measuring found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuned {
    /// The fastest plan.
    pub plan: Plan,
    /// How many times as fast as the plain one it is.
    pub gain: f64,
}

impl PlanOptions {
    /// The plan to open `network` by now: pinned, kept or plain.
    #[must_use]
    pub fn plan(&self, engine: &BackendInfo, network: &Path, options: &SessionOptions) -> Plan {
        if let Some(plan) = self.pinned {
            return plan;
        }
        if !self.measures(engine) {
            return Plan::PLAIN;
        }
        self.kept(engine, network, options).unwrap_or_default()
    }

    /// Whether `network` is yet to be measured.
    #[must_use]
    pub fn wants_tuning(
        &self,
        engine: &BackendInfo,
        network: &Path,
        options: &SessionOptions,
    ) -> bool {
        let bytes = std::fs::metadata(network).map_or(0, |file| file.len());
        self.pinned.is_none()
            && self.measures(engine)
            && (bytes >= NETWORK_BYTES_MIN || self.tune == Tune::Exhaustive)
            && self.kept(engine, network, options).is_none()
    }

    /// What accelerators gain was not measured.
    fn measures(&self, engine: &BackendInfo) -> bool {
        self.tune != Tune::Off && engine.providers == [ExecutionProvider::Cpu]
    }

    fn kept(&self, engine: &BackendInfo, network: &Path, options: &SessionOptions) -> Option<Plan> {
        let conditions = store::conditions(engine, network, options, self.cache_bytes)?;
        store::kept(network, &conditions)
    }

    /// The plans that are measured against the plain one.
    fn candidates(&self) -> Vec<Plan> {
        let cache = self.cache_bytes.unwrap_or_else(cpu_cache::share_bytes);
        let mut plans = vec![Plan::SPLIT, Plan::grouped(Some(cache))];
        if self.tune == Tune::Exhaustive {
            plans.extend([4, 2].map(|by| Plan::grouped(Some(cache / by))));
            plans.push(Plan::grouped(Some(cache * 2)));
        }
        plans
    }

    /// Measures the plans of `network`, keeps the best for the next load, and gives it; `None` if `stop` was set.
    ///
    /// Blocks for some seconds, and holds two sessions meanwhile. Two plans take turns, and what counts is the quickest
    /// run of each: a run that was interrupted says nothing.
    ///
    /// # Errors
    /// When the network cannot be opened any more.
    pub fn tune(
        &self,
        backend: &dyn Backend,
        network: &Path,
        options: &SessionOptions,
        stop: &AtomicBool,
    ) -> Result<Option<Tuned>, InferenceError> {
        let conditions = store::conditions(backend.info(), network, options, self.cache_bytes);
        let probe = Probe::new();
        let open = |plan: Plan| -> Result<Box<dyn Generator>, InferenceError> {
            let options = SessionOptions {
                plan,
                ..options.clone()
            };
            let network = backend.open_generator(network, &options)?;
            let mut session = network.open_session()?;
            probe.run_background(&mut *session)?;
            Ok(session)
        };
        let mut plain = open(Plan::PLAIN)?;
        let mut best = Tuned {
            plan: Plan::PLAIN,
            gain: 1.0,
        };
        let mut measured = HashSet::new();
        for plan in self.candidates() {
            // Cheaper than to open a session of a graph that was measured already.
            let Ok(Some(bytes)) = rewritten(network, plan, true) else {
                continue;
            };
            let mut hasher = DefaultHasher::new();
            hasher.write(&bytes);
            if !measured.insert(hasher.finish()) {
                continue;
            }
            drop(bytes);
            let mut candidate = open(plan)?;
            let Some(gain) = gain(&probe, &mut *plain, &mut *candidate, stop)? else {
                return Ok(None);
            };
            tracing::debug!(network = %network.display(), %plan, gain, "plan measured");
            if gain >= GAIN_MIN && gain > best.gain {
                best = Tuned { plan, gain };
            }
        }
        if let Some(conditions) = conditions
            && let Err(error) = store::keep(network, &conditions, best.plan)
        {
            tracing::info!(network = %network.display(), %error, "the plan is measured again at every load: it cannot be kept");
        }
        Ok(Some(best))
    }
}

/// How many times as fast as one session another is; `None` if `stop` was set.
fn gain(
    probe: &Probe,
    one: &mut dyn Generator,
    other: &mut dyn Generator,
    stop: &AtomicBool,
) -> Result<Option<f64>, InferenceError> {
    let mut least = [Duration::MAX; 2];
    for round in 0..2 * ROUNDS {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let turn = round % 2;
        let started = Instant::now();
        if turn == 0 {
            probe.run_background(one)?;
        } else {
            probe.run_background(other)?;
        }
        least[turn] = least[turn].min(started.elapsed());
    }
    Ok(Some(
        least[0].as_secs_f64() / least[1].as_secs_f64().max(1e-9),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::engine_tests::{engines, network};

    #[test]
    fn a_pinned_plan_is_never_measured() {
        let engine = &engines()[0];
        let path = network("unet.onnx");
        let options = SessionOptions::default();
        let pinned = PlanOptions {
            pinned: Some(Plan::SPLIT),
            tune: Tune::Exhaustive,
            cache_bytes: None,
        };
        assert_eq!(pinned.plan(engine.info(), &path, &options), Plan::SPLIT);
        assert!(!pinned.wants_tuning(engine.info(), &path, &options));
    }

    #[test]
    fn small_networks_are_measured_only_when_asked_for() {
        let engine = &engines()[0];
        let path = network("unet.onnx");
        let options = SessionOptions::default();
        for (tune, wants) in [
            (Tune::Off, false),
            (Tune::Auto, false),
            (Tune::Exhaustive, true),
        ] {
            let plans = PlanOptions {
                tune,
                ..PlanOptions::default()
            };
            assert_eq!(plans.wants_tuning(engine.info(), &path, &options), wants);
            assert_eq!(plans.plan(engine.info(), &path, &options), Plan::PLAIN);
        }
    }

    #[test]
    fn what_was_measured_is_what_the_next_load_begins_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unet.onnx");
        std::fs::copy(network("unet.onnx"), &path).unwrap();
        let options = SessionOptions::default();
        let plans = PlanOptions {
            tune: Tune::Exhaustive,
            ..PlanOptions::default()
        };
        for engine in engines() {
            let stopped = AtomicBool::new(true);
            let given_up = plans.tune(&*engine, &path, &options, &stopped).unwrap();
            assert_eq!(given_up, None);
            assert!(plans.wants_tuning(engine.info(), &path, &options));
            let go = AtomicBool::new(false);
            let tuned = plans.tune(&*engine, &path, &options, &go).unwrap().unwrap();
            assert!(tuned.gain >= 1.0);
            assert!(!plans.wants_tuning(engine.info(), &path, &options));
            assert_eq!(plans.plan(engine.info(), &path, &options), tuned.plan);
        }
    }

    #[test]
    fn a_network_that_is_gone_is_an_error_and_runs_by_no_plan() {
        let plans = PlanOptions {
            tune: Tune::Exhaustive,
            ..PlanOptions::default()
        };
        let engine = &engines()[0];
        let missing = std::path::Path::new("nowhere/unet.onnx");
        let options = SessionOptions::default();
        let go = AtomicBool::new(false);
        assert!(plans.tune(&**engine, missing, &options, &go).is_err());
        assert_eq!(plans.plan(engine.info(), missing, &options), Plan::PLAIN);
    }
}
