//! Everything wrong with an avatar's pictures and rects at once: for checking a configuration, not for loading.

use rayon::prelude::*;

use super::{AvatarError, Backgrounds, CropRects, frame_count};
use crate::config;

/// The keys.
const BACKGROUNDS: &str = "background_dir";
const RECTS: &str = "crop_rects_path";
const FRAMES: &str = "num_frames";

/// What there is to say about the pictures and rects of an avatar, each with the key that names the file.
#[derive(Debug, Default)]
pub struct Inspection {
    /// What must be mended.
    pub faults: Vec<(&'static str, AvatarError)>,
    /// What may surprise, and is as it should be.
    pub notes: Vec<(&'static str, String)>,
}

/// Looks at every rect and decodes every background of `model`.
#[must_use]
pub fn inspect(model: &config::Model) -> Inspection {
    let mut faults = Vec::new();
    let mut notes = Vec::new();
    let backgrounds = match Backgrounds::survey(&model.background_dir) {
        Ok(backgrounds) => {
            let undecodable = (0..backgrounds.len())
                .into_par_iter()
                .filter_map(|index| backgrounds.decode(index).err());
            let undecodable: Vec<_> = undecodable.collect();
            faults.extend(
                undecodable
                    .into_iter()
                    .map(|fault| (BACKGROUNDS, fault.into())),
            );
            notes.extend(turned(&backgrounds).map(|note| (BACKGROUNDS, note)));
            Some(backgrounds)
        }
        Err(fault) => {
            faults.push((BACKGROUNDS, fault.into()));
            None
        }
    };
    let size = backgrounds.as_ref().map(Backgrounds::size);
    let used = model.num_frames.unwrap_or(usize::MAX);
    let unusable = CropRects::faults(&model.crop_rects_path, size, used, model.rects);
    let rects = unusable
        .is_empty()
        .then(|| CropRects::load(&model.crop_rects_path));
    faults.extend(unusable.into_iter().map(|fault| (RECTS, fault.into())));
    if let (Some(backgrounds), Some(Ok(rects))) = (&backgrounds, &rects)
        && let Err(fault) = frame_count(model, rects, backgrounds)
    {
        let key = if model.num_frames.is_some() {
            FRAMES
        } else {
            RECTS
        };
        faults.push((key, fault));
    }
    Inspection { faults, notes }
}

/// That pictures are turned by their EXIF data.
fn turned(backgrounds: &Backgrounds) -> Option<String> {
    let turned: Vec<usize> = (0..backgrounds.len())
        .filter(|index| backgrounds.is_turned(*index))
        .collect();
    let first = backgrounds.file(*turned.first()?)?;
    Some(format!(
        "{} of {} pictures are turned by their EXIF data, as OpenCV turns them: the first is {}",
        turned.len(),
        backgrounds.len(),
        first.display()
    ))
}
