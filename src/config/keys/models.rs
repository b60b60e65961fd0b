//! `models`: the avatars.

use std::path::Path;

use super::super::raw::{Node, Value, shorten};
use super::super::reader::{Report, Section, join};
use super::super::{Capacity, Geometry, Model, Padding, RectPolicy, Sequence};
use super::{MIB, count, resolve};
use crate::audio::features::FPS_MAX;

/// Characters of a model's name at most.
const MODEL_ID_CHARS_MAX: usize = 128;

/// Reads `models`.
pub(super) fn read(s: Section<'_, '_>, base: &Path, capacity: &Capacity) -> Vec<Model> {
    let place = s.own_place();
    let (entries, report) = s.into_entries();
    if entries.is_empty()
        && !report
            .problems
            .iter()
            .any(|problem| problem.key == "models" || problem.key.is_empty())
    {
        let hint = "add a model, for example `sanders:` with `model_path`, `background_dir` and `crop_rects_path` below it";
        let message = "no models: there is nothing to serve".to_owned();
        report.add(
            place,
            "models",
            String::new(),
            message,
            Some(hint.to_owned()),
        );
    }
    // Read even where there is no entry, so that the keys of a model are known for the documentation and for hints.
    let mut known = Report::default();
    let empty = Node {
        value: Value::Null,
        place,
    };
    model(
        Section::open(
            Some(&empty),
            "models.<id>",
            String::new(),
            place,
            &mut known,
        ),
        "",
        base,
        capacity,
    );
    report.keys.extend(known.keys);

    entries
        .into_iter()
        .map(|(key, node)| {
            let path = join("models", &key.name);
            if let Some(reason) = bad_model_id(&key.name) {
                let hint = Some("use letters, digits, '.', '_' and '-'".to_owned());
                report.add(
                    key.place,
                    &path,
                    shorten(&key.name),
                    format!("not a usable name: {reason}"),
                    hint,
                );
            }
            model(
                Section::open(Some(node), "models.<id>", path, key.place, report),
                &key.name,
                base,
                capacity,
            )
        })
        .collect()
}

/// Why `id` cannot name a model: names travel in HTTP headers, URLs and metrics.
fn bad_model_id(id: &str) -> Option<&'static str> {
    if id.is_empty() {
        Some("it is empty")
    } else if id.len() > MODEL_ID_CHARS_MAX {
        Some("it is longer than 128 characters")
    } else if !id.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        Some("it has characters other than printable ASCII")
    } else if id.trim() != id {
        Some("it begins or ends with a space")
    } else if id.contains(['/', '\\']) {
        Some("it has a slash")
    } else {
        None
    }
}

fn model(mut s: Section<'_, '_>, id: &str, base: &Path, capacity: &Capacity) -> Model {
    let folder = if id.is_empty() { "name" } else { id };
    let example = |file: &str| format!("./models/{}/{file}", shorten(folder));
    let model = Model {
        id: id.to_owned(),
        model_path: resolve(
            base,
            s.required_path("model_path", &example("unet.onnx"), "the generator network (SyncTalk_2D U-Net), ONNX"),
        ),
        background_dir: resolve(
            base,
            s.required_path(
                "background_dir",
                &example("frames"),
                "folder of background pictures: frame_0000.png …, or 0.png / 0.jpg …",
            ),
        ),
        crop_rects_path: resolve(
            base,
            s.required_path("crop_rects_path", &example("crop_rects.json"), "the crop rect of every background, JSON; or the folder of its landmarks: 0.lms …"),
        ),
        audio_encoder_path: s
            .path(
                "audio_encoder_path",
                "none",
                "the audio encoder network (mel to 512 features), ONNX; without it the avatar takes ready-made features only",
            )
            .map(|path| resolve(base, path)),
        num_frames: count(s.optional_integer(
            "num_frames",
            "as many as crop rects",
            1..=1_000_000,
            "backgrounds used, counted from the first",
        )),
        preload: s.bool("preload", false, "load at start instead of at the first request"),
        memory_estimate_bytes: s.integer(
            "memory_estimate_mb",
            0,
            0..=67_108_864,
            "memory to count for the avatar at least; what it really takes is measured",
        ) * MIB,
        audio_padding: s.choice(
            "audio_padding",
            Padding::Zeros,
            "what audio windows hold past the ends of a clip, as in training: zeros (SyncTalk_2D), or the nearest feature",
        ),
        compositing: s.choice(
            "compositing",
            Geometry::Inset,
            "how the prediction gets into the background: inset as in training, or stretch over the whole rect",
        ),
        compositing_feather: s.integer(
            "compositing_feather",
            0,
            0..=64,
            "pixels over which the prediction fades into the background, from where it begins inside the rect; 0: none, as the reference",
        ) as u32,
        rects: s.choice(
            "rects",
            RectPolicy::Strict,
            "a rect that leaves the picture is refused (strict), or cut at the right and at the bottom (clip), as the reference does",
        ),
        sequence: s.choice(
            "sequence",
            Sequence::PingPong,
            "the order of backgrounds: forth and back, from the start again, or hold the last one",
        ),
        fps: s.integer("fps", u64::from(crate::defaults::FPS), 1..=u64::from(FPS_MAX), "frames a second") as u32,
        video_kbps: s.integer(
            "video_kbps",
            2000,
            50..=100_000,
            "what the background of the avatar's H.264 may take, in kbit/s: finer grain than that is smoothed",
        ) as u32,
    };
    if model.memory_estimate_bytes > capacity.max_memory_bytes {
        s.conflict(
            "memory_estimate_mb",
            &(model.memory_estimate_bytes / MIB),
            "more than `capacity.max_memory_gb` allows in all: the avatar could never be loaded",
            "raise `capacity.max_memory_gb`, or lower the estimate",
        );
    }
    s.finish();
    model
}
