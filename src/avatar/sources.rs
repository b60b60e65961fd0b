//! Where an avatar's backgrounds come from: the pictures, their rects, and what is left of an earlier load on disk.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::cache::Limit;
use super::store::{Key, Store, hex};
use super::{Background, BackgroundError, Backgrounds, CropRects, KeepOptions};
use crate::compositor::crop;
use crate::compositor::crop::{CROP_SIDE, Seen};
use crate::compositor::{Compositor, Feather, Geometry};
use crate::encoder::{self, Effort, PreparedI420, PreparedPng};
use crate::frame::network_io::ROI_SIDE;
use crate::frame::{Frame, Rect, Size};

/// Bytes of a placement at most: the crop around what the network paints.
const PLACEMENT_BYTES: usize = 3 * (CROP_SIDE * CROP_SIDE - ROI_SIDE * ROI_SIDE);
/// What a prepared background takes however simple its picture is, generously.
const PREPARED_BYTES_LEAST: usize = 64 << 10;

/// Makes backgrounds. Small: no pixels are kept here.
#[derive(Debug)]
pub(super) struct Sources {
    backgrounds: Backgrounds,
    rects: CropRects,
    compositor: Compositor,
    feather: usize,
    store: Option<Store>,
}

impl Sources {
    pub(super) fn new(
        backgrounds: Backgrounds,
        rects: CropRects,
        geometry: Geometry,
        feather: usize,
        options: &KeepOptions,
    ) -> Self {
        let folder = || store_folder(backgrounds.folder(), options.disk_folder.as_deref());
        let store = (options.disk_bytes > 0).then(|| Store::new(folder(), options.disk_bytes));
        Self {
            backgrounds,
            rects,
            compositor: Compositor::new(geometry),
            feather,
            store,
        }
    }

    pub(super) fn backgrounds(&self) -> &Backgrounds {
        &self.backgrounds
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.compositor.geometry()
    }

    pub(super) fn rect(&self, index: usize) -> Rect {
        // Opening made sure that every background has a rect.
        self.rects.get(index).expect("a rect for every background")
    }

    pub(super) fn rects_bytes(&self) -> usize {
        self.rects.len() * size_of::<Rect>()
    }

    /// Whether what is prepared is kept on disk.
    pub(super) fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// Where what is prepared is kept on disk, if anywhere.
    pub(super) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// The picture's file.
    pub(super) fn read(&self, index: usize) -> Result<Vec<u8>, BackgroundError> {
        self.backgrounds.read(index)
    }

    /// The background as an earlier load left it on disk; `file` is the picture's.
    pub(super) fn stored(&self, index: usize, file: &[u8]) -> Option<Background> {
        let rect = self.rect(index);
        let stored = self
            .store
            .as_ref()?
            .load(&Key::of(file, rect), rect.size())?;
        let fits = stored.png.size() == self.backgrounds.size() && stored.png.rect() == rect;
        let canvas = || encoder::Background::from_prepared(Arc::new(stored.png));
        fits.then(|| self.background(index, stored.raw_rect, canvas()))
    }

    /// The background with its pixels, not prepared; `file` is the picture's.
    pub(super) fn decode(&self, index: usize, file: &[u8]) -> Result<Background, BackgroundError> {
        let frame = self.backgrounds.decode_file(index, file)?;
        let rect = self.rect(index);
        let raw_rect = frame.cut(rect);
        let canvas = encoder::Background::new(Arc::new(frame), rect);
        Ok(self.background(index, raw_rect, canvas))
    }

    /// The background of `frame` as planes; its pixels are not needed after this.
    pub(super) fn planes(&self, index: usize, frame: &Frame) -> Background {
        let rect = self.rect(index);
        let canvas = encoder::Background::from_planes(Arc::new(PreparedI420::prepare(frame, rect)));
        self.background(index, frame.cut(rect), canvas)
    }

    /// The background of `frame`, prepared, and kept on disk; its pixels are not needed after this.
    pub(super) fn prepare(&self, index: usize, file: &[u8], frame: &Frame) -> Background {
        let rect = self.rect(index);
        let raw_rect = frame.cut(rect);
        let png = PreparedPng::prepare(frame, rect, None, Effort::Thorough);
        if let Some(store) = &self.store {
            store.save(&Key::of(file, rect), &raw_rect, &png);
        }
        let canvas = encoder::Background::from_prepared(Arc::new(png));
        self.background(index, raw_rect, canvas)
    }

    fn background(&self, index: usize, raw_rect: Frame, canvas: encoder::Background) -> Background {
        let size = raw_rect.size();
        let whole = Rect::new(0, 0, size.width, size.height).expect("a rect is never empty");
        let crop = crop::crop_328(&raw_rect, whole);
        Background {
            index,
            seen: Arc::new(Seen::of(&crop)),
            placement: self.compositor.placement(&crop, size),
            feather: self.feather(size),
            raw_rect,
            canvas,
        }
    }

    fn feather(&self, size: Size) -> Feather {
        Feather::new(self.feather, self.compositor.geometry(), size)
    }

    /// Room for the pixels of `frames` backgrounds, or for the planes of as many and more.
    pub(super) fn raw_limit(&self, frames: usize) -> Limit {
        let count = frames.clamp(1, self.backgrounds.len());
        let size = self.backgrounds.size();
        let limit = self.limit(count, |index| {
            let planes = PreparedI420::memory_bytes_max(size, self.rect(index));
            planes.max(size.rgb_bytes())
        });
        // Both forms of each, as far as the bytes allow.
        Limit {
            count: 2 * count,
            ..limit
        }
    }

    /// Room for `frames` prepared backgrounds, as large as their files let expect.
    pub(super) fn prepared_limit(&self, frames: usize) -> Limit {
        let count = frames.clamp(1, self.backgrounds.len());
        self.limit(count, |index| self.prepared_bytes_expected(index))
    }

    /// Room for any `count` backgrounds that take `bytes` besides what all of them do.
    fn limit(&self, count: usize, bytes: impl Fn(usize) -> usize) -> Limit {
        let common = size_of::<Background>() + Seen::BYTES + PLACEMENT_BYTES;
        let mut each: Vec<usize> = (0..self.backgrounds.len())
            .map(|index| {
                let size = self.rect(index).size();
                let feather = self.feather(size).memory_bytes();
                common + feather + size.rgb_bytes() + bytes(index)
            })
            .collect();
        each.sort_unstable_by(|a, b| b.cmp(a));
        Limit {
            count,
            bytes: each.iter().take(count).sum(),
        }
    }

    /// A PNG shows how well its picture compresses; of a JPEG, whose noise does not, the worst photographs are assumed.
    fn prepared_bytes_expected(&self, index: usize) -> usize {
        let rgb = self.backgrounds.size().rgb_bytes();
        PREPARED_BYTES_LEAST
            + match self.backgrounds.png_bytes(index) {
                Some(bytes) => (bytes as usize * 3 / 2).min(rgb * 9 / 8),
                None => rgb * 3 / 4,
            }
    }
}

/// Beside the backgrounds, or in `within` under a name of their own.
fn store_folder(backgrounds: &Path, within: Option<&Path>) -> PathBuf {
    let named = |addition: &str| {
        let mut name = OsString::from(backgrounds.file_name().unwrap_or_default());
        name.push(addition);
        name
    };
    match within {
        None => backgrounds.with_file_name(named(".prepared")),
        Some(within) => {
            let whole = std::path::absolute(backgrounds).unwrap_or_else(|_| backgrounds.to_owned());
            let hash = Sha1::digest(whole.as_os_str().as_encoded_bytes());
            within.join(named(&format!("-{}", hex(&hash[..4]))))
        }
    }
}
