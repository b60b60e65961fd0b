//! Replacing the set of models and the limits, all or nothing.

use std::collections::HashSet;
use std::sync::Arc;

use crate::registry::ReconfigureReport;
use crate::registry::error::ConfigureError;
use crate::registry::ledger::Ledger;
use crate::registry::ledger::entry::{Entry, Moment};
use crate::registry::ledger::state::Event;
use crate::registry::limits::Limits;
use crate::registry::loader::{Load, ModelSpec};

impl<L: Load> Ledger<L> {
    /// Checks everything first; from there on nothing can fail.
    pub(in crate::registry) fn configure(
        &mut self,
        specs: Vec<ModelSpec<L::Spec>>,
        limits: Limits,
        now: Moment,
    ) -> Result<ReconfigureReport, ConfigureError> {
        limits.validate()?;
        let mut names = HashSet::new();
        for spec in &specs {
            if !names.insert(Arc::clone(&spec.id)) {
                let id = Arc::clone(&spec.id);
                return Err(ConfigureError::DuplicateModel { id });
            }
        }
        let mut report = ReconfigureReport {
            limits_changed: self.limits != limits,
            ..ReconfigureReport::default()
        };
        self.limits = limits;
        self.changes += 1;
        let mut old = std::mem::take(&mut self.entries);
        for spec in specs {
            if let Some(place) = old.iter().position(|entry| entry.spec.id == spec.id) {
                self.entries.push(old.remove(place));
                self.renew(spec, &mut report, now);
            } else {
                report.added.push(Arc::clone(&spec.id));
                self.entries.push(Entry::new(Arc::new(spec), now.at));
            }
        }
        for mut entry in old {
            if entry.configured {
                report.removed.push(Arc::clone(&entry.spec.id));
            }
            entry.configured = false;
            self.entries.push(entry);
            self.refuse_unknown(self.entries.len() - 1);
        }
        Ok(report)
    }

    /// Gives the last entry its new spec.
    fn renew(&mut self, spec: ModelSpec<L::Spec>, report: &mut ReconfigureReport, now: Moment) {
        let index = self.entries.len() - 1;
        let entry = &mut self.entries[index];
        let changed = entry.spec.fingerprint != spec.fingerprint;
        let id = Arc::clone(&spec.id);
        entry.spec = Arc::new(spec);
        let back = !std::mem::replace(&mut entry.configured, true);
        if back {
            report.added.push(id);
        } else if changed {
            report.changed.push(id);
        }
        if changed {
            // What it took and why it failed belong to files that are gone.
            entry.measured_bytes = 0;
            if entry.state.failure().is_some() {
                self.step(index, Event::Forget, now);
            }
        }
    }
}
