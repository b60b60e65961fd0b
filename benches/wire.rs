//! What a frame costs between client and pipeline.
//!
//! `cargo bench --bench wire [-- PART]`, where PART is `decode` (received bytes to checked tensors, beside the message as
//! prost generates it), `socket` (a call to a server that answers with ready frames, by sizes of HTTP/2 windows) or `call`
//! (a call to the real server, beside the same frames made in this process and the same bytes over a bare socket). Every round runs each candidate once, back
//! to back, so that what is compared met the same machine; figures are medians.

#![expect(clippy::print_stdout, reason = "a bench reports on the terminal")]
#![expect(clippy::unwrap_used, reason = "a bench may fail loudly")]
#![allow(missing_docs, reason = "not a library")]

#[allow(dead_code, reason = "other benches use the rest")]
mod pictures;
#[allow(dead_code, reason = "other benches use the rest")]
mod studio;

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use lipsync::config::{self, Config};
use lipsync::encoder::Format;
use lipsync::engine::{BackendOptions, select};
use lipsync::frame::network_io::{AUDIO_LEN, SharedFloats, VISUAL_LEN, Visual};
use lipsync::pipeline::{FrameOrder, LoadOptions, LoadedModel, render_batch};
use lipsync::server;
use lipsync::wire::multi_tenant_lip_sync_client::MultiTenantLipSyncClient;
use lipsync::wire::multi_tenant_lip_sync_server::{MultiTenantLipSync, MultiTenantLipSyncServer};
use lipsync::wire::{
    CompositeBatchRequest, CompositeBatchResponse, GetModelStatsRequest, GetModelStatsResponse,
    HealthRequest, HealthResponse, ListModelsRequest, ListModelsResponse, LoadModelRequest,
    LoadModelResponse, UnloadModelRequest, UnloadModelResponse,
};
use lipsync::workers::WorkerOptions;
use prost::Message as _;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::Service as _;

use pictures::Kind;
use studio::{avatar, keep, median, prepared, timed};

/// Frames in a batch.
const BATCH: usize = 5;
const MESSAGE_BYTES: usize = 200 << 20;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let parts: [(&str, fn()); 3] = [("decode", decode), ("socket", socket), ("call", call)];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            part();
        }
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

fn decode() {
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
    connect(&format!("http://{address}")).await
}

/// A client as `lipsync` has it.
async fn connect(url: &str) -> MultiTenantLipSyncClient<Channel> {
    MultiTenantLipSyncClient::new(channel(url).await)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
}

async fn channel(url: &str) -> Channel {
    Endpoint::from_shared(url.to_owned())
        .unwrap()
        .tcp_nodelay(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(32 << 20)
        .max_frame_size(1 << 20)
        .connect()
        .await
        .unwrap()
}

/// A call whose message is ready, as the bytes of its body; gives the bytes of the answer, which it does not keep.
async fn exchange(channel: &mut Channel, message: Bytes) -> usize {
    let body = http_body_util::Full::new(message).map_err(|never| match never {});
    let request = http::Request::post("/lipsync.MultiTenantLipSync/InferBatchComposite")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(body))
        .unwrap();
    std::future::poll_fn(|cx| channel.poll_ready(cx))
        .await
        .unwrap();
    let mut body = channel.call(request).await.unwrap().into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        match frame.unwrap().into_data() {
            Ok(data) => bytes += data.len(),
            Err(trailers) => assert_eq!(trailers.trailers_ref().unwrap()["grpc-status"], "0"),
        }
    }
    bytes
}

/// The same number of bytes there and back over a bare socket whose ends reuse their memory: what no protocol can beat.
struct Bare(std::net::TcpStream);

impl Bare {
    fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_nodelay(true).unwrap();
        }
        std::thread::spawn(move || {
            let mut buffer = vec![1; 64 << 20];
            let mut sizes = [0; 16];
            while server.read_exact(&mut sizes).is_ok() {
                let [there, back] =
                    [0, 8].map(|at| usize::from_le_bytes(sizes[at..at + 8].try_into().unwrap()));
                server.read_exact(&mut buffer[..there]).unwrap();
                server.write_all(&buffer[..back]).unwrap();
            }
        });
        Self(client)
    }

    fn exchange(&mut self, buffer: &mut [u8], there: usize, back: usize) {
        let sizes = [there.to_le_bytes(), back.to_le_bytes()].concat();
        self.0.write_all(&sizes).unwrap();
        self.0.write_all(&buffer[..there]).unwrap();
        self.0.read_exact(&mut buffer[..back]).unwrap();
    }
}

/// A message as a gRPC body has it.
fn body_of(request: &CompositeBatchRequest) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&(request.encoded_len() as u32).to_be_bytes());
    request.encode(&mut bytes).unwrap();
    bytes.into()
}

fn request(visual_len: usize) -> CompositeBatchRequest {
    CompositeBatchRequest {
        model_id: "ann".to_owned(),
        visual_frames: vec![0.5_f32; visual_len].into(),
        audio_features: vec![0.25_f32; BATCH * AUDIO_LEN].into(),
        batch_size: BATCH as i32,
        ..CompositeBatchRequest::default()
    }
}

/// A whole call over a local socket, client and server in this process.
fn socket() {
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
        let request = request(visual_len);
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

/// A configuration of the avatar `model`, served on any free port.
fn configuration(folder: &Path, model: &config::Model) -> Config {
    let text = format!(
        "server:\n  port: 127.0.0.1:0\n  http_port: \"off\"\nmodels:\n  ann:\n    model_path: {}\n    background_dir: {}\n    crop_rects_path: {}\n",
        model.model_path.display(),
        model.background_dir.display(),
        model.crop_rects_path.display()
    );
    Config::parse(&text, &folder.join("config.yaml")).unwrap()
}

/// Everything but network, compositing and encoding: the call less the same frames made in this process.
fn call() {
    println!(
        "a batch of {BATCH} over a local socket, less the same frames made in this process, ms a frame"
    );
    let folder = tempfile::tempdir().unwrap();
    let network =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks/generator.onnx");
    let model = config::Model {
        model_path: network,
        ..avatar(folder.path(), Kind::Video)
    };
    // Leaves the prepared backgrounds on disk, for both to find.
    drop(prepared(&model, 2, 1 << 30));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime
        .block_on(server::Server::start(configuration(folder.path(), &model)))
        .unwrap();
    let url = format!("http://{}", server.grpc_address());
    let mut client = runtime.block_on(connect(&url));
    let mut ready = runtime.block_on(channel(&url));
    let (mut bare, mut buffer) = (Bare::new(), vec![0; 64 << 20]);
    let options = LoadOptions {
        plans: lipsync::engine::PlanOptions::default(),
        workers: WorkerOptions {
            sessions: std::thread::available_parallelism().map_or(1, usize::from),
            ..WorkerOptions::default()
        },
        keep: keep(2, 1 << 30),
        visual_cache_bytes: 0,
    };
    let model = LoadedModel::open(
        &*select(&BackendOptions::default()).unwrap(),
        &model,
        &options,
    )
    .unwrap();
    model.avatar().prepare_from(0);
    while !model.avatar().is_prepared() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let audio: SharedFloats = Arc::new(vec![0.25_f32; AUDIO_LEN]);
    let visual: SharedFloats = Arc::new(vec![0.5_f32; VISUAL_LEN]);
    for (name, visual_len) in [("client-made", BATCH * VISUAL_LEN), ("server-made", 0)] {
        let request = request(visual_len);
        let message = body_of(&request);
        let [mut called, mut exchanged, mut carried, mut made] = [const { Vec::new() }; 4];
        // The first rounds find cold memory, and backgrounds that the server has not read yet.
        for round in 0..220 {
            let mut times = [const { Vec::new() }; 4];
            let (copy, mut bytes) = (request.clone(), 0);
            timed(&mut times[0], || {
                let call = client.infer_batch_composite(copy);
                let response = runtime.block_on(call).unwrap();
                let frames = &response.get_ref().composited_frames;
                bytes = frames.iter().map(Bytes::len).sum();
                black_box(response);
            });
            timed(&mut times[1], || {
                let answer = runtime.block_on(exchange(&mut ready, message.clone()));
                assert!(answer > bytes);
            });
            timed(&mut times[2], || {
                bare.exchange(&mut buffer, message.len(), bytes);
            });
            timed(&mut times[3], || {
                let orders = (0..BATCH as u64).map(|index| FrameOrder {
                    index,
                    visual: (visual_len > 0).then(|| Visual::Ready(Arc::clone(&visual))),
                    audio: Arc::clone(&audio),
                    flow: 0,
                    deadline: None,
                });
                let frames = runtime
                    .block_on(render_batch(&model, orders, Format::Png))
                    .unwrap();
                let local: usize = frames.iter().map(|frame| frame.image.byte_len()).sum();
                assert!(round < 20 || bytes == local);
                black_box(frames);
            });
            if round >= 20 {
                let all = [&mut called, &mut exchanged, &mut carried, &mut made];
                for (all, times) in all.into_iter().zip(&mut times) {
                    all.append(times);
                }
            }
        }
        println!("  {name}");
        report("by tonic's client", called, Some(&made));
        report("with a message that was ready", exchanged, Some(&made));
        report("the bytes alone", carried, None);
    }
    runtime.block_on(server.drain());
}

/// Prints what a frame of `times` took, less what making it took in this process.
fn report(way: &str, times: Vec<Duration>, made: Option<&Vec<Duration>>) {
    let least = |times: &[Duration]| times.iter().min().unwrap().as_secs_f64() * 1e3;
    let (least_made, median_made) =
        made.map_or((0.0, 0.0), |made| (least(made), median(made.clone())));
    let low = (least(&times) - least_made) / BATCH as f64;
    let middle = (median(times) - median_made) / BATCH as f64;
    println!("    {way}: {middle:.3} (least times: {low:.3})");
}
