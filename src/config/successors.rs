//! Keys of the original server's successors: other programs with other schemas, whose files people bring.

/// Section (`models.<id>` for a model's), key, and what to do about it here.
const KEYS: &[(&str, &str, &str)] = &[
    (
        "",
        "models_root",
        "write the folder in front of every relative path of a model",
    ),
    ("", "gpus", "use `onnx.cuda_enabled` and `onnx.cuda_device`"),
    (
        "",
        "output",
        "each request chooses: `output_format`, `jpeg_quality`",
    ),
    ("", "inference_server", "one process does both: remove it"),
    (
        "server",
        "worker_count_per_gpu",
        "use `onnx.sessions_per_model`",
    ),
    (
        "capacity",
        "idle_timeout_minutes",
        "use `idle_unload_minutes`",
    ),
    ("onnx", "intra_op_threads", "use `intra_threads`"),
    (
        "onnx",
        "inter_op_threads",
        "there is no such setting: operators of a network run one after another",
    ),
    (
        "onnx",
        "cuda_streams_per_worker",
        "there is no such setting",
    ),
    ("models.<id>", "preload_model", "use `preload`"),
    (
        "models.<id>",
        "preload_backgrounds",
        "not needed: backgrounds are prepared ahead by themselves",
    ),
    ("models.<id>", "preferred_gpu", "use `onnx.cuda_device`"),
    (
        "models.<id>",
        "source_video",
        "`lipsync import` extracts backgrounds from a film",
    ),
    ("models.<id>", "crops_video_path", CROPS),
    ("models.<id>", "rois_video_path", CROPS),
    ("models.<id>", "crops_frames_dir", CROPS),
    ("models.<id>", "rois_frames_dir", CROPS),
    ("logging", "log_level", "use `level`"),
    ("logging", "log_inference_times", LOGS),
    ("logging", "log_compositing_times", LOGS),
    ("logging", "log_cache_stats", LOGS),
    ("logging", "log_gpu_utilization", LOGS),
    ("logging", "buffered_logging", LOGS),
    ("logging", "sample_rate", LOGS),
    ("logging", "auto_flush", LOGS),
    ("logging", "flush_interval_ms", LOGS),
    ("logging", "save_debug_files", LOGS),
];
const CROPS: &str = "not needed: crops are made from the backgrounds and the rects";
const LOGS: &str = "there is no such setting: see the metrics, and `level`";

/// What is said once of a file that has such keys.
pub(super) const RECOGNISED: &str = "this is a file of a successor of the original server, which is another program with other keys; \
     each of them below says what takes its place";

/// What to do about a successor's key.
pub(super) fn hint(section: &str, key: &str) -> Option<&'static str> {
    KEYS.iter()
        .find(|(place, name, _)| *place == section && *name == key)
        .map(|(_, _, hint)| *hint)
}
