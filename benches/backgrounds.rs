//! What loading an avatar's backgrounds costs, what they take in memory, what reading a batch off the wire costs, and
//! how much of a frame is hidden behind the network.
//!
//! `cargo bench --bench backgrounds [-- PART]`, where PART is `load`, `wire`, `socket` or `overlap`. `LIPSYNC_NETWORK` names the
//! generator for `overlap` (default: the tests' small one). Every round runs each candidate once, back to back, so
//! that what is compared met the same machine; figures are medians.

#![expect(clippy::print_stdout, reason = "a bench reports on the terminal")]
#![expect(clippy::unwrap_used, reason = "a bench may fail loudly")]
#![allow(missing_docs, reason = "not a library")]

#[allow(dead_code, reason = "the other bench uses the rest")]
mod pictures;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lipsync::audio::Padding;
use lipsync::avatar::{Avatar, KeepOptions, Sequence};
use lipsync::compositor::Geometry;
use lipsync::config;
use lipsync::encoder::Format;
use lipsync::frame::Size;
use lipsync::inference::{
    AUDIO_LEN, BackendOptions, FrameInput, SharedFloats, VISUAL_LEN, Visual, WorkerOptions, select,
};
use lipsync::pipeline::{FrameOrder, LoadOptions, LoadedModel, render_batch};
use lipsync::wire::multi_tenant_lip_sync_client::MultiTenantLipSyncClient;
use lipsync::wire::multi_tenant_lip_sync_server::{MultiTenantLipSync, MultiTenantLipSyncServer};
use lipsync::wire::{
    CompositeBatchRequest, CompositeBatchResponse, GetModelStatsRequest, GetModelStatsResponse,
    HealthRequest, HealthResponse, ListModelsRequest, ListModelsResponse, LoadModelRequest,
    LoadModelResponse, UnloadModelRequest, UnloadModelResponse,
};
use prost::Message as _;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use pictures::{Kind, picture};

const SIZE: Size = Size {
    width: 1280,
    height: 720,
};
const RECT: [u32; 4] = [557, 339, 739, 521];
const BACKGROUNDS: usize = 24;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let parts: [(&str, fn()); 4] = [
        ("load", load),
        ("wire", wire),
        ("socket", socket),
        ("overlap", overlap),
    ];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            part();
        }
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn timed(times: &mut Vec<Duration>, run: impl FnOnce()) {
    let started = Instant::now();
    run();
    times.push(started.elapsed());
}

/// Writes an avatar of `kind` and gives its configuration.
fn avatar(folder: &Path, kind: Kind) -> config::Model {
    let frames = folder.join("frames");
    std::fs::create_dir(&frames).unwrap();
    for seed in 0..BACKGROUNDS {
        let frame = picture(kind, SIZE, seed as u32);
        let pixels =
            image::RgbImage::from_raw(SIZE.width, SIZE.height, frame.data().to_vec()).unwrap();
        pixels.save(frames.join(format!("{seed}.png"))).unwrap();
    }
    let rects = folder.join("rects.json");
    std::fs::write(&rects, format!("{:?}", vec![RECT; BACKGROUNDS])).unwrap();
    config::Model {
        id: "ann".to_owned(),
        model_path: PathBuf::new(),
        background_dir: frames,
        crop_rects_path: rects,
        audio_encoder_path: None,
        num_frames: None,
        preload: false,
        memory_estimate_bytes: 0,
        audio_padding: Padding::Edge,
        compositing: Geometry::Inset,
        sequence: Sequence::PingPong,
        fps: 25,
    }
}

fn keep(threads: usize, disk_bytes: u64) -> KeepOptions {
    KeepOptions {
        prepared_frames: BACKGROUNDS,
        raw_frames: 1,
        threads,
        disk_bytes,
        disk_folder: None,
    }
}

/// Opens an avatar and waits until all of it is prepared.
fn prepared(model: &config::Model, threads: usize, disk_bytes: u64) -> Avatar {
    let avatar = Avatar::open(model, &keep(threads, disk_bytes)).unwrap();
    avatar.prepare_from(0);
    while !avatar.is_prepared() {
        std::thread::sleep(Duration::from_micros(200));
    }
    avatar
}

fn load() {
    println!("loading {BACKGROUNDS} backgrounds of {SIZE}, rect 182x182, ms a background");
    for kind in Kind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let model = avatar(folder.path(), kind);
        drop(prepared(&model, 2, 1 << 30));
        let [mut one, mut two, mut warm, mut first] = [const { Vec::new() }; 4];
        for _ in 0..5 {
            timed(&mut one, || drop(prepared(&model, 1, 0)));
            timed(&mut two, || drop(prepared(&model, 2, 0)));
            timed(&mut warm, || drop(prepared(&model, 2, 1 << 30)));
            timed(&mut first, || {
                let avatar = Avatar::open(&model, &keep(0, 0)).unwrap();
                black_box(avatar.background(0, Format::Png).unwrap());
            });
        }
        let bytes = prepared(&model, 2, 1 << 30).memory_bytes() / BACKGROUNDS as u64;
        let [one, two, warm, first] = [one, two, warm, first].map(median);
        let each = BACKGROUNDS as f64;
        println!(
            "  {:10}  cold, 1 thread {:6.1}  2 threads {:6.1} ({:.2} x)  from disk {:5.2} ({:.0} x)  \
             first frame of a cold avatar after {first:.1} ms  memory {:.2} MB (RGBA: 3.69)",
            kind.name(),
            one / each,
            two / each,
            one / two,
            warm / each,
            two / warm,
            bytes as f64 / 1e6,
        );
    }
}

/// The batch request as prost generates it.
#[derive(Clone, PartialEq, prost::Message)]
struct Plain {
    #[prost(string, tag = "1")]
    model_id: String,
    #[prost(float, repeated, tag = "2")]
    visual_frames: Vec<f32>,
    #[prost(float, repeated, tag = "3")]
    audio_features: Vec<f32>,
    #[prost(int32, tag = "4")]
    batch_size: i32,
}

fn wire() {
    const BATCH: usize = 5;
    println!("a batch of {BATCH} from received bytes to checked tensors, ms a frame");
    for (name, visual_len) in [("client-made", BATCH * VISUAL_LEN), ("server-made", 0)] {
        let message = Plain {
            model_id: "sanders".to_owned(),
            visual_frames: (0..visual_len).map(|i| (i % 255) as f32 / 255.0).collect(),
            audio_features: vec![0.25; BATCH * AUDIO_LEN],
            batch_size: BATCH as i32,
        };
        let bytes = Bytes::from(message.encode_to_vec());
        let [mut ours, mut plain] = [const { Vec::new() }; 2];
        let mut buffer = vec![0.0; VISUAL_LEN];
        for _ in 0..60 {
            timed(&mut ours, || {
                let request = CompositeBatchRequest::decode(bytes.clone()).unwrap();
                for floats in [&request.visual_frames, &request.audio_features] {
                    assert_eq!(floats.first_non_finite(), None);
                }
                // What the session's thread does just before its run.
                for visual in request.visual_frames.visuals(VISUAL_LEN) {
                    match visual {
                        Visual::Ready(tensor) => drop(black_box(tensor)),
                        Visual::Made(source) => source.write(black_box(&mut buffer)),
                    }
                }
                black_box(request.audio_features.tensors(AUDIO_LEN));
            });
            timed(&mut plain, || {
                let request = Plain::decode(bytes.clone()).unwrap();
                for floats in [&request.visual_frames, &request.audio_features] {
                    assert!(floats.iter().all(|float| float.is_finite()));
                }
                let cut = |floats: &[f32], len: usize| -> Vec<SharedFloats> {
                    let parts = floats.chunks_exact(len);
                    parts
                        .map(|part| Arc::new(part.to_vec()) as SharedFloats)
                        .collect()
                };
                black_box(cut(&request.visual_frames, VISUAL_LEN));
                black_box(cut(&request.audio_features, AUDIO_LEN));
            });
        }
        let [ours, plain] = [ours, plain].map(|times| median(times) / BATCH as f64);
        println!(
            "  {name}: {ours:.3}  as prost generates it: {plain:.3} ({:.1} x)",
            plain / ours
        );
    }
}

/// Answers a batch with ready frames as soon as its tensors are there: all that is left is the transport.
struct Echo {
    frames: Vec<Bytes>,
}

#[tonic::async_trait]
impl MultiTenantLipSync for Echo {
    async fn infer_batch_composite(
        &self,
        request: Request<CompositeBatchRequest>,
    ) -> Result<Response<CompositeBatchResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.visual_frames.first_non_finite(), None);
        black_box(request.visual_frames.visuals(VISUAL_LEN));
        black_box(request.audio_features.tensors(AUDIO_LEN));
        Ok(Response::new(CompositeBatchResponse {
            composited_frames: self.frames.clone(),
            success: true,
            ..CompositeBatchResponse::default()
        }))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn load_model(
        &self,
        _: Request<LoadModelRequest>,
    ) -> Result<Response<LoadModelResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn unload_model(
        &self,
        _: Request<UnloadModelRequest>,
    ) -> Result<Response<UnloadModelResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_model_stats(
        &self,
        _: Request<GetModelStatsRequest>,
    ) -> Result<Response<GetModelStatsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn health(&self, _: Request<HealthRequest>) -> Result<Response<HealthResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A server with these window and frame sizes (0: hyper's own) and a client connected to it.
async fn echo(stream: u32, connection: u32, frame: u32) -> MultiTenantLipSyncClient<Channel> {
    const MESSAGE_BYTES: usize = 200 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = MultiTenantLipSyncServer::new(Echo {
        frames: vec![Bytes::from(vec![7_u8; 600_000]); 5],
    });
    let mut server = Server::builder().tcp_nodelay(true);
    if frame > 0 {
        server = server
            .initial_stream_window_size(stream)
            .initial_connection_window_size(connection)
            .max_frame_size(frame);
    }
    let service = service
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .tcp_nodelay(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .connect()
        .await
        .unwrap();
    MultiTenantLipSyncClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
}

/// A whole call over a local socket, client and server in this process.
fn socket() {
    const BATCH: usize = 5;
    println!("a batch of {BATCH}, five frames of 600 kB back, over a local socket, ms a frame");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let windows = [
        ("hyper's own windows", (0, 0, 0)),
        ("4 MB, 16 MB", (4 << 20, 16 << 20, 16 << 10)),
        ("4 MB, 16 MB, frames of 1 MB", (4 << 20, 16 << 20, 1 << 20)),
        (
            "16 MB, 64 MB, frames of 1 MB",
            (16 << 20, 64 << 20, 1 << 20),
        ),
    ];
    let mut clients = windows
        .map(|(_, (stream, connection, frame))| runtime.block_on(echo(stream, connection, frame)));
    for (name, visual_len) in [("client-made", BATCH * VISUAL_LEN), ("server-made", 0)] {
        let request = CompositeBatchRequest {
            model_id: "sanders".to_owned(),
            visual_frames: vec![0.5_f32; visual_len].into(),
            audio_features: vec![0.25_f32; BATCH * AUDIO_LEN].into(),
            batch_size: BATCH as i32,
            ..CompositeBatchRequest::default()
        };
        let mut times = windows.map(|_| Vec::new());
        for _ in 0..40 {
            for (client, times) in clients.iter_mut().zip(&mut times) {
                let request = request.clone();
                timed(times, || {
                    black_box(runtime.block_on(client.infer_batch_composite(request))).unwrap();
                });
            }
        }
        for ((window, _), times) in windows.iter().zip(times) {
            println!("  {name}, {window}: {:.3}", median(times) / BATCH as f64);
        }
    }
}

fn overlap() {
    const BATCH: usize = 25;
    let network = std::env::var_os("LIPSYNC_NETWORK").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks/generator.onnx"),
        PathBuf::from,
    );
    let folder = tempfile::tempdir().unwrap();
    let model = config::Model {
        model_path: network,
        ..avatar(folder.path(), Kind::Video)
    };
    let backend = select(&BackendOptions::default()).unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = LoadOptions {
        workers: WorkerOptions {
            sessions: cores,
            ..WorkerOptions::default()
        },
        keep: keep(cores, 0),
        visual_cache_bytes: 0,
    };
    let model = LoadedModel::open(&*backend, &model, &options).unwrap();
    model.avatar().prepare_from(0);
    while !model.avatar().is_prepared() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let audio: SharedFloats = Arc::new(vec![0.1_f32; AUDIO_LEN]);
    let visual: SharedFloats = Arc::new(vec![0.5_f32; VISUAL_LEN]);
    let [mut alone, mut whole] = [const { Vec::new() }; 2];
    for round in 0..12 {
        timed(&mut alone, || {
            runtime.block_on(async {
                let tickets: Vec<_> = (0..BATCH)
                    .map(|_| FrameInput::new(Arc::clone(&visual), Arc::clone(&audio)))
                    .map(|input| model.generator().submit(input).unwrap())
                    .collect();
                for ticket in tickets {
                    black_box(ticket.await.unwrap());
                }
            });
        });
        timed(&mut whole, || {
            let orders = (0..BATCH).map(|frame| FrameOrder {
                index: (round * BATCH + frame) as u64,
                visual: None,
                audio: Arc::clone(&audio),
                flow: 0,
                deadline: None,
            });
            black_box(runtime.block_on(render_batch(&model, orders, Format::Png))).unwrap();
        });
    }
    let [alone, whole] = [alone, whole].map(|times| median(times) / BATCH as f64);
    println!(
        "batches of {BATCH} on {}: network alone {alone:.2} ms a frame, finished PNGs {whole:.2} ({:+.1} %)",
        backend.info(),
        100.0 * (whole / alone - 1.0)
    );
}
