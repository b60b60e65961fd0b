//! `onnx`: how the networks run.

use std::path::Path;

use super::super::reader::Section;
use super::super::{
    BackendChoice, Choice, ExecutionProvider, Fallback, Onnx, PlanChoice, Profile, Tune,
};
use super::server::OriginalKeys;
use super::{MIB, count, resolve};

/// A batch is queued whole.
const QUEUE_FRAMES_MIN: usize = crate::defaults::BATCH_FRAMES_MAX as usize;

/// Reads `onnx`.
pub(super) fn read(mut s: Section<'_, '_>, base: &Path, original: OriginalKeys) -> Onnx {
    check_original(&mut s, original);
    let library_path = s.path(
        "library_path",
        "searched",
        "the ONNX Runtime shared library; not set: ORT_DYLIB_PATH, beside the executable, the system's folders, an installed Python package",
    );
    let cuda_enabled = s.bool(
        "cuda_enabled",
        false,
        "demand CUDA: without a usable GPU the server refuses to start, unless `fallback: cpu`",
    );
    let providers = s.choices(
        "execution_providers",
        "[cpu], or [cuda, cpu] with cuda_enabled",
        "hardware to run on, in order of preference",
    );
    let execution_providers = providers.unwrap_or_else(|| {
        if cuda_enabled {
            vec![ExecutionProvider::Cuda, ExecutionProvider::Cpu]
        } else {
            vec![ExecutionProvider::Cpu]
        }
    });
    let onnx = Onnx {
        library_path: library_path.map(|path| resolve(base, path)),
        cuda_enabled,
        cuda_device: s.integer("cuda_device", 0, 0..=63, "which GPU, as nvidia-smi numbers them") as u32,
        backend: s.choice(
            "backend",
            BackendChoice::Auto,
            "the engine; auto: ONNX Runtime where its library is found, else the embedded one (about 4 times slower)",
        ),
        execution_providers,
        fallback: s.choice(
            "fallback",
            Fallback::None,
            "when demanded hardware is not usable: refuse to start (none) or run on the CPU (cpu)",
        ),
        profile: s.choice(
            "profile",
            Profile::Throughput,
            "throughput: a session per core with one thread each; latency: one session on all cores",
        ),
        sessions_per_model: count(s.optional_integer(
            "sessions_per_model",
            "by profile",
            1..=256,
            "sessions per avatar, each with its own thread and memory",
        )),
        intra_threads: count(s.optional_integer("intra_threads", "by profile", 1..=256, "threads inside one session")),
        parallel_runs: count(s.optional_integer(
            "parallel_runs",
            "as many as the cores can run, and an avatar's sessions; on a GPU any number",
            1..=65_536,
            "runs of networks at once, of all avatars together; more wait their turn, by tenant",
        )),
        max_batch: count(s.optional_integer(
            "max_batch",
            "1 on a CPU, 8 on a GPU",
            1..=u64::from(crate::defaults::BATCH_FRAMES_MAX),
            "frames in one run of the network; batches win nothing on a CPU",
        )),
        batch_delay: s.milliseconds("batch_delay_ms", 2.0, 0.0..=1000.0, "how long the first frame of a batch waits for company"),
        queue_frames: s.integer(
            "queue_frames",
            crate::defaults::QUEUE_FRAMES as u64,
            QUEUE_FRAMES_MIN as u64..=1_000_000,
            "frames that may wait per avatar; more are refused with RESOURCE_EXHAUSTED",
        ) as usize,
        worker_count: original.worker_count,
        hang_timeout: s.seconds(
            "hang_timeout_seconds",
            60.0,
            1.0..=3600.0,
            "a run of the network longer than this fails, and its session is replaced",
        ),
        plan: plan(&mut s),
        tune: tune(&mut s),
        cache_bytes: cache_bytes(&mut s),
        visual_cache_bytes: s.integer(
            "visual_cache_mb",
            0,
            0..=1_048_576,
            "memory per avatar to keep what the network computes from each background alone: 19.5 MB a background, 4.9 in INT8; pays from half of the backgrounds on, on a CPU; 0: off",
        ) * MIB,
    };
    check_onnx(&mut s, &onnx);
    let queue_frames = match original.queue_size {
        Some(frames) if s.is_blank("queue_frames") => frames.max(QUEUE_FRAMES_MIN),
        _ => onnx.queue_frames,
    };
    s.finish();
    Onnx {
        queue_frames,
        ..onnx
    }
}

fn plan(s: &mut Section<'_, '_>) -> PlanChoice {
    s.choice(
        "plan",
        PlanChoice::Auto,
        "how a network's graph is rewritten, exactly but for rounding; auto: as measured by `tune`; plain, split or grouped: always so",
    )
}

fn tune(s: &mut Section<'_, '_>) -> Tune {
    s.choice(
        "tune",
        Tune::Auto,
        "measure which plan is the fastest, in the background after a load, once per machine, engine and network; auto: networks of 8 MB and more; exhaustive: all, and more plans; off: never",
    )
}

fn cache_bytes(s: &mut Section<'_, '_>) -> Option<u64> {
    let mb = s.optional_integer(
        "cache_mb",
        "a core's share of the largest",
        1..=1024,
        "the processor's cache that one session may count on: what groups of channels are sized by",
    );
    mb.map(|mb| mb * MIB)
}

/// One setting cannot have two values.
fn check_original(s: &mut Section<'_, '_>, original: OriginalKeys) {
    let pairs = [
        (
            "sessions_per_model",
            "server.worker_count",
            original.worker_count,
        ),
        ("queue_frames", "server.queue_size", original.queue_size),
    ];
    for (key, original, value) in pairs {
        if let Some(value) = value.filter(|_| !s.is_blank(key)) {
            s.conflict(
                key,
                &value,
                &format!("`{original}` means the same, and is set as well"),
                &format!("remove `{original}`"),
            );
        }
    }
}

/// What the keys of `onnx` must agree on.
fn check_onnx(s: &mut Section<'_, '_>, onnx: &Onnx) {
    use ExecutionProvider::{Cpu, Cuda, OpenVino, TensorRt};
    let gpu = onnx
        .execution_providers
        .iter()
        .any(|provider| matches!(provider, Cuda | TensorRt));
    if onnx.cuda_enabled && !gpu {
        let hint = "put cuda first in the list, or remove one of the two keys";
        s.conflict(
            "execution_providers",
            &"no cuda",
            "contradicts `cuda_enabled: true`",
            hint,
        );
    }
    if !s.is_blank("cuda_enabled") && !onnx.cuda_enabled && gpu {
        s.conflict(
            "cuda_enabled",
            &false,
            "contradicts `execution_providers`, which lists a GPU",
            "remove one of the two keys",
        );
    }
    let beyond_cpu = onnx
        .execution_providers
        .iter()
        .any(|provider| matches!(provider, Cuda | TensorRt | OpenVino));
    if onnx.backend == BackendChoice::Embedded && beyond_cpu {
        let hint = format!(
            "use `backend: {}`, or `execution_providers: [{Cpu}]`",
            BackendChoice::OnnxRuntime.word()
        );
        s.conflict(
            "backend",
            &onnx.backend.word(),
            "the embedded engine runs on the CPU only",
            &hint,
        );
    }
}
