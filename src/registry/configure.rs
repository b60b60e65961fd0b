//! Replacing the set of models and the limits, all or nothing.

use std::collections::HashSet;
use std::sync::Arc;

use super::ReconfigureReport;
use super::error::ConfigureError;
use super::ledger::Ledger;
use super::limits::Limits;
use super::load::{Load, ModelSpec};
use super::slot::{Moment, Slot};
use super::state::Event;

impl<L: Load> Ledger<L> {
    /// Checks everything first; from there on nothing can fail.
    pub(super) fn configure(
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
        let mut old = std::mem::take(&mut self.slots);
        for spec in specs {
            if let Some(place) = old.iter().position(|slot| slot.spec.id == spec.id) {
                self.slots.push(old.remove(place));
                self.renew(spec, &mut report, now);
            } else {
                report.added.push(Arc::clone(&spec.id));
                self.slots.push(Slot::new(Arc::new(spec), now.at));
            }
        }
        for mut slot in old {
            if slot.configured {
                report.removed.push(Arc::clone(&slot.spec.id));
            }
            slot.configured = false;
            self.slots.push(slot);
            self.refuse_unknown(self.slots.len() - 1);
        }
        Ok(report)
    }

    /// Gives the last slot its new spec.
    fn renew(&mut self, spec: ModelSpec<L::Spec>, report: &mut ReconfigureReport, now: Moment) {
        let index = self.slots.len() - 1;
        let slot = &mut self.slots[index];
        let changed = slot.spec.fingerprint != spec.fingerprint;
        let id = Arc::clone(&spec.id);
        slot.spec = Arc::new(spec);
        let back = !std::mem::replace(&mut slot.configured, true);
        if back {
            report.added.push(id);
        } else if changed {
            report.changed.push(id);
        }
        if changed {
            // What it took and why it failed belong to files that are gone.
            slot.measured_bytes = 0;
            if slot.state.failure().is_some() {
                self.step(index, Event::Forget, now);
            }
        }
    }
}
