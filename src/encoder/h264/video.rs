//! What all viewers of an avatar share: its prepared groups, filled in as they are made.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::base::{Base, samples};
use super::group::{GroupBuilder, Prepared, PreparedGroup};
use super::plan::{Plan, Position};
use super::stored::{self, StoredError};
use crate::frame::Frame;

/// An avatar's video, as far as it is prepared.
#[derive(Debug)]
pub struct Video {
    plan: Arc<Plan>,
    qp: u8,
    memory_bytes_max: usize,
    /// Held by whoever adds something. No code that can panic runs under it but counting.
    keeping: Mutex<()>,
    groups: Vec<OnceLock<Arc<PreparedGroup>>>,
    bases: Vec<OnceLock<Arc<Base>>>,
}

/// The quantiser to begin with: lower ones show nothing that is seen.
const QP_BEST: u8 = 24;
/// The coarsest quantiser that is chosen by itself.
const QP_WORST: u8 = 34;

impl Video {
    /// Nothing prepared yet; every picture is quantised with `qp`, 0 (best) to 51.
    #[must_use]
    pub fn new(plan: impl Into<Arc<Plan>>, qp: u8) -> Self {
        let plan = plan.into();
        let backgrounds = (0..plan.groups()).flat_map(|group| plan.backgrounds(group));
        let count = backgrounds.max().map_or(0, |last| last + 1);
        Self {
            groups: (0..plan.groups()).map(|_| OnceLock::new()).collect(),
            bases: (0..count).map(|_| OnceLock::new()).collect(),
            plan,
            qp: qp.min(51),
            memory_bytes_max: usize::MAX,
            keeping: Mutex::default(),
        }
    }

    /// Keeps no group that would make all take more than `bytes`.
    #[must_use]
    pub fn with_memory_bytes_max(mut self, bytes: usize) -> Self {
        self.memory_bytes_max = bytes;
        self
    }

    /// Which frame is where.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The quantiser.
    #[must_use]
    pub fn qp(&self) -> u8 {
        self.qp
    }

    /// Parameter sets, each with its start code: the SPS and the PPS.
    #[must_use]
    pub fn parameter_sets(&self) -> Vec<u8> {
        self.plan.stream(self.qp).parameter_sets()
    }

    /// Whether frames of a group can be spliced.
    #[must_use]
    pub fn is_prepared(&self, group: usize) -> bool {
        self.groups[group].get().is_some()
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let groups = self.groups.iter().filter_map(OnceLock::get);
        let bases = self.bases.iter().filter_map(OnceLock::get);
        groups.map(|group| group.memory_bytes()).sum::<usize>()
            + bases.map(|base| base.memory_bytes()).sum::<usize>()
    }

    /// Prepares a group; `read` gives a background. Does nothing if it is prepared, and keeps nothing if there is no
    /// room.
    ///
    /// # Errors
    /// If a background cannot be read.
    pub fn prepare<E>(
        &self,
        group: usize,
        mut read: impl FnMut(usize) -> Result<Arc<Frame>, E>,
    ) -> Result<(), E> {
        if self.is_prepared(group) || self.memory_bytes_max == 0 {
            return Ok(());
        }
        let mut builder = GroupBuilder::new(&self.plan, group, self.qp);
        // A short cycle shows the same again and again.
        let mut last: Option<(usize, Vec<_>)> = None;
        for background in self.plan.backgrounds(group) {
            let samples = match last.take() {
                Some((index, samples)) if index == background => samples,
                _ => {
                    let frame = read(background)?;
                    let samples = samples(&frame);
                    if self.bases[background].get().is_none() {
                        let base = Base::new(&self.plan, background, &frame, &samples);
                        self.keep_base(background, base);
                    }
                    samples
                }
            };
            builder.push(&samples);
            last = Some((background, samples));
        }
        self.keep(group, builder.finish());
        Ok(())
    }

    /// Keeps a group if there is room, and all its backgrounds have found some.
    fn keep(&self, group: usize, prepared: PreparedGroup) {
        let _turn = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let mut backgrounds = self.plan.backgrounds(group);
        let is_complete = backgrounds.all(|b| self.bases[b].get().is_some());
        let bytes = self.memory_bytes() + prepared.memory_bytes();
        if is_complete && bytes <= self.memory_bytes_max {
            self.groups[group].get_or_init(|| Arc::new(prepared));
        }
    }

    /// Likewise of a background.
    fn keep_base(&self, background: usize, base: Base) {
        let _turn = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        if self.memory_bytes() + base.memory_bytes() <= self.memory_bytes_max {
            self.bases[background].get_or_init(|| Arc::new(base));
        }
    }

    /// A prepared group as bytes, see [`Video::restore`]; `None` if it is not prepared.
    #[must_use]
    pub fn stored(&self, group: usize) -> Option<Vec<u8>> {
        let prepared = self.groups[group].get()?;
        let bases = self.plan.group_backgrounds(group);
        let bases: Option<Vec<_>> = bases.map(|b| Some(&**self.bases[b].get()?)).collect();
        Some(stored::write(prepared, bases?.into_iter(), self.qp))
    }

    /// Takes a group as [`Video::stored`] gave it. [`Video::is_prepared`] is false after it if there is no room.
    ///
    /// # Errors
    /// If the bytes are not whole, or of another avatar or quantiser.
    pub fn restore(&self, group: usize, bytes: &[u8]) -> Result<(), StoredError> {
        let (prepared, bases) = stored::read(&self.plan, group, self.qp, bytes)?;
        for (background, base) in bases {
            self.keep_base(background, base);
        }
        self.keep(group, prepared);
        Ok(())
    }

    /// What is prepared of a picture, if all of it is.
    pub(super) fn picture(&self, position: Position) -> Option<(&Prepared, &Base)> {
        let group = self.groups[position.group].get()?;
        let base = self.bases[position.background].get()?;
        Some((&group.pictures[position.number as usize], base))
    }
}

/// The quantiser at which an avatar's background takes no more than `bits_per_second`, by the beginning of its first
/// group: grain that is finer than a quantiser costs as much as all the rest.
///
/// # Errors
/// If a background cannot be read.
pub fn choose_qp<E>(
    plan: &Plan,
    bits_per_second: u64,
    mut read: impl FnMut(usize) -> Result<Arc<Frame>, E>,
) -> Result<u8, E> {
    const PICTURES: usize = 8;
    let pictures = plan
        .backgrounds(0)
        .take(PICTURES)
        .map(|background| Ok(samples(&*read(background)?)))
        .collect::<Result<Vec<_>, E>>()?;
    let frames = plan.backgrounds(0).count() as u64;
    let fps = u64::from(plan.stream(0).fps);
    for qp in (QP_BEST..QP_WORST).step_by(2) {
        let mut builder = GroupBuilder::new(plan, 0, qp);
        let mut key_bytes = 0;
        for (index, picture) in pictures.iter().enumerate() {
            builder.push(picture);
            if index == 0 {
                key_bytes = builder.byte_len() as u64;
            }
        }
        let others = (pictures.len() as u64 - 1).max(1);
        let other_bytes = builder.byte_len() as u64 - key_bytes;
        let group_bytes = key_bytes + other_bytes * (frames - 1) / others;
        if 8 * group_bytes * fps / frames <= bits_per_second {
            return Ok(qp);
        }
    }
    Ok(QP_WORST)
}
