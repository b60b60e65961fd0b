//! In steady state no frame allocates more than 64 KiB: what is large is made once and used again.
//!
//! The network is a stand-in, so that everything counted is this project's own. All threads count.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]
#![expect(unsafe_code, reason = "a global allocator is unsafe by its signature")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lipsync::audio::Padding;
use lipsync::avatar::{KeepOptions, Sequence};
use lipsync::compositor::Geometry;
use lipsync::config;
use lipsync::encoder::Format;
use lipsync::engine::{
    AudioEncoder, Backend, BackendInfo, Batch, Cancel, Generator, GeneratorNetwork, InferenceError,
    SessionOptions,
};
use lipsync::frame::network_io::{AUDIO_LEN, SharedFloats, VISUAL_LEN, Visual};
use lipsync::pipeline::{FrameOrder, LoadOptions, LoadedModel, render_batch};
use lipsync::workers::WorkerOptions;

/// Larger ones count.
const ALLOCATION_BYTES_MAX: usize = 64 << 10;
/// Batches without a large allocation that make a steady state, and batches until it must have been reached.
const STEADY_BATCHES: usize = 10;
const BATCHES_MAX: usize = 60;
const BATCH_FRAMES: usize = 5;

static LARGE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

impl Counting {
    fn count(bytes: usize) {
        if bytes > ALLOCATION_BYTES_MAX {
            LARGE.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: everything is the system allocator's, asked for exactly what was asked of us.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A network that paints the brightness of its first pixel everywhere, and allocates nothing.
#[derive(Debug)]
struct Flat(BackendInfo);

#[derive(Debug)]
struct FlatNetwork;

impl Backend for Flat {
    fn info(&self) -> &BackendInfo {
        &self.0
    }

    fn open_generator(
        &self,
        _: &Path,
        _: &SessionOptions,
    ) -> Result<Arc<dyn GeneratorNetwork>, InferenceError> {
        Ok(Arc::new(FlatNetwork))
    }

    fn open_audio_encoder(
        &self,
        _: &Path,
        _: &SessionOptions,
    ) -> Result<Box<dyn AudioEncoder>, InferenceError> {
        unreachable!("the avatar has none")
    }
}

impl GeneratorNetwork for FlatNetwork {
    fn path(&self) -> &Path {
        Path::new("flat")
    }

    fn max_batch(&self) -> usize {
        1
    }

    fn open_session(&self) -> Result<Box<dyn Generator>, InferenceError> {
        Ok(Box::new(FlatNetwork))
    }
}

impl Generator for FlatNetwork {
    fn run(
        &mut self,
        batch: &Batch<'_>,
        output: &mut [f32],
        _: &Cancel,
    ) -> Result<(), InferenceError> {
        output.fill(batch.visual[0]);
        Ok(())
    }
}

/// An avatar of noisy pictures with a rect whose pixels alone take more than the limit.
fn model(folder: &Path) -> LoadedModel {
    let frames = folder.join("frames");
    std::fs::create_dir(&frames).unwrap();
    for frame in 0..4_u32 {
        image::RgbImage::from_fn(400, 300, |x, y| {
            let noise = (x * 2_654_435 + y * 40_503 + frame) ^ (x * y);
            image::Rgb([noise as u8, (noise >> 5) as u8, x as u8])
        })
        .save(frames.join(format!("{frame}.png")))
        .unwrap();
    }
    let rects = folder.join("rects.json");
    std::fs::write(
        &rects,
        "[[90,60,290,260],[91,60,291,260],[92,60,292,260],[93,60,293,260]]",
    )
    .unwrap();
    let model = config::Model {
        id: "ann".to_owned(),
        model_path: "flat.onnx".into(),
        background_dir: frames,
        crop_rects_path: rects,
        audio_encoder_path: None,
        num_frames: None,
        preload: false,
        memory_estimate_bytes: 0,
        audio_padding: Padding::Edge,
        compositing: Geometry::Inset,
        compositing_feather: 0,
        rects: config::RectPolicy::Strict,
        sequence: Sequence::PingPong,
        fps: 25,
        video_kbps: 2000,
    };
    let backend = Flat(BackendInfo {
        name: "flat",
        version: String::new(),
        library: None,
        providers: Vec::new(),
        skipped: Vec::new(),
        note: None,
    });
    let options = LoadOptions {
        plans: lipsync::engine::PlanOptions::default(),
        workers: WorkerOptions {
            sessions: 2,
            ..WorkerOptions::default()
        },
        keep: KeepOptions {
            prepared_frames: 100,
            raw_frames: 4,
            threads: 1,
            disk_bytes: 0,
            disk_folder: None,
            video_bytes: 64 << 20,
        },
        visual_cache_bytes: 0,
    };
    let model = LoadedModel::open(&backend, &model, &options).unwrap();
    model.avatar().prepare_from(0);
    while !model.avatar().is_prepared() {
        std::thread::sleep(Duration::from_millis(1));
    }
    model
}

/// Renders batches until a steady state: many in a row without a large allocation.
async fn reach_steady_state(model: &LoadedModel, visual: Option<SharedFloats>, format: Format) {
    let audio: SharedFloats = Arc::new(vec![0.0_f32; AUDIO_LEN]);
    let mut steady = 0;
    for batch in 0..BATCHES_MAX {
        let orders = (0..BATCH_FRAMES).map(|frame| FrameOrder {
            index: (batch * BATCH_FRAMES + frame) as u64,
            visual: visual.clone().map(Visual::Ready),
            audio: Arc::clone(&audio),
            flow: 0,
            deadline: None,
        });
        let before = LARGE.load(Ordering::Relaxed);
        let frames = render_batch(model, orders, format).await.unwrap();
        assert_eq!(frames.len(), BATCH_FRAMES);
        drop(frames);
        let large = LARGE.load(Ordering::Relaxed) - before;
        steady = if large == 0 { steady + 1 } else { 0 };
        if steady == STEADY_BATCHES {
            return;
        }
    }
    panic!("{BATCHES_MAX} batches, and frames still allocate");
}

#[test]
fn no_frame_allocates_much_once_buffers_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // Visual tensors made here, then a client's own.
    for format in [Format::Png, Format::Rgb, Format::I420] {
        runtime.block_on(reach_steady_state(&model, None, format));
    }
    let client: SharedFloats = Arc::new(vec![0.5_f32; VISUAL_LEN]);
    let before = LARGE.load(Ordering::Relaxed);
    runtime.block_on(reach_steady_state(&model, Some(client), Format::Png));
    // A count that could not rise would prove nothing.
    drop(std::hint::black_box(vec![0_u8; 2 * ALLOCATION_BYTES_MAX]));
    assert!(LARGE.load(Ordering::Relaxed) > before);
}
