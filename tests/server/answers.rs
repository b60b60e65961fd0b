//! Every call, answered and refused.

use lipsync::wire;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::common::avatars::{self, AUDIO_LEN, FRAMES, Folder, SIZE};
use crate::common::process::{Server, batch, strict};

fn pixels(png: &[u8]) -> image::RgbImage {
    image::load_from_memory(png).unwrap().to_rgb8()
}

#[tokio::test]
async fn frames_come_back_in_order_in_every_format_and_figures_add_up() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let mut client = server.client().await;

    let first = client
        .infer_batch_composite(batch("red", 4))
        .await
        .unwrap()
        .into_inner();
    assert!(first.success, "{}", first.error);
    assert_eq!(first.background_indices, [0, 1, 2, 1]);
    assert!(first.model_loaded && first.model_load_time_ms > 0.0);
    assert!(first.inference_time_ms > 0.0 && first.composite_time_ms > first.encode_time_ms);
    assert!(first.total_time_ms > first.model_load_time_ms);
    let frames: Vec<_> = first
        .composited_frames
        .iter()
        .map(|png| pixels(png))
        .collect();
    assert_eq!(frames.len(), 4);
    // The same background and window give the same frame, others another.
    assert_eq!(frames[1], frames[3]);
    assert_ne!(frames[0], frames[1]);
    for frame in &frames {
        assert_eq!(frame.dimensions(), SIZE);
    }

    let rgb = wire::CompositeBatchRequest {
        start_frame_idx: 1,
        output_format: wire::ImageFormat::Rgb.into(),
        ..batch("red", 2)
    };
    let second = client
        .infer_batch_composite(rgb)
        .await
        .unwrap()
        .into_inner();
    assert!(!second.model_loaded);
    assert_eq!(second.composited_frames[0], *frames[1].as_raw());
    assert_eq!(second.composited_frames[1], *frames[2].as_raw());

    let jpeg = wire::CompositeBatchRequest {
        output_format: wire::ImageFormat::Jpeg.into(),
        jpeg_quality: 95,
        ..batch("red", 1)
    };
    let third = client
        .infer_batch_composite(jpeg)
        .await
        .unwrap()
        .into_inner();
    let close = pixels(&third.composited_frames[0])
        .pixels()
        .zip(frames[0].pixels())
        .filter(|(a, b)| (0..3).all(|i| a[i].abs_diff(b[i]) < 32))
        .count();
    assert!(
        close * 10 > 9 * (SIZE.0 * SIZE.1) as usize,
        "{close} pixels"
    );

    let planes = wire::CompositeBatchRequest {
        output_format: wire::ImageFormat::I420.into(),
        ..batch("red", 1)
    };
    let fourth = client.infer_batch_composite(planes).await.unwrap();
    let planes = &fourth.into_inner().composited_frames[0];
    let pixels = (SIZE.0 * SIZE.1) as usize;
    assert_eq!(planes.len(), pixels * 3 / 2);
    for (luma, pixel) in planes.iter().zip(frames[0].pixels()) {
        let [r, g, b] = pixel.0.map(f64::from);
        let expected = 16.0 + 219.0 / 255.0 * (0.2126 * r + 0.7152 * g + 0.0722 * b);
        assert!((f64::from(*luma) - expected).abs() < 1.0);
    }

    let request = wire::GetModelStatsRequest {
        model_id: "red".to_owned(),
    };
    let stats = client.get_model_stats(request).await.unwrap().into_inner();
    assert_eq!((stats.max_models, stats.loaded_models), (2, 1));
    let model = &stats.models[0];
    assert_eq!((model.width, model.height), (SIZE.0 as i32, SIZE.1 as i32));
    assert_eq!(model.num_frames, FRAMES as i32);
    assert_eq!(model.leases, 0);
    let figures = model.stats.unwrap();
    assert_eq!(figures.usage_count, 8);
    assert!(figures.total_inference_time_ms >= first.inference_time_ms);
    server.stop();
}

#[tokio::test]
async fn a_window_a_frame_and_tensors_of_the_client_are_taken() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let mut client = server.client().await;
    // RGB: the bytes of a PNG also depend on whether its background is prepared yet.
    let mut infer = async |mut request: wire::CompositeBatchRequest| {
        request.output_format = wire::ImageFormat::Rgb.into();
        let answer = client
            .infer_batch_composite(request)
            .await
            .unwrap()
            .into_inner();
        assert!(answer.success, "{}", answer.error);
        answer.composited_frames
    };
    // Two windows in one batch are two batches of one window.
    let window = |level: f32| vec![level; AUDIO_LEN];
    let both: Vec<f32> = [window(0.25), window(-1.5)].concat();
    let together = infer(wire::CompositeBatchRequest {
        audio_features: both.into(),
        ..batch("red", 2)
    })
    .await;
    let quiet = infer(batch("red", 1)).await;
    let loud = infer(wire::CompositeBatchRequest {
        audio_features: window(-1.5).into(),
        start_frame_idx: 1,
        ..batch("red", 1)
    })
    .await;
    assert_eq!(together, [quiet[0].clone(), loud[0].clone()]);
    assert_ne!(quiet, loud);

    // Other tensors, other mouths; the first frame's does not become the second's.
    let visual: Vec<f32> = [0.0, 1.0]
        .into_iter()
        .flat_map(|v| vec![v; avatars::VISUAL_LEN])
        .collect();
    let painted = infer(wire::CompositeBatchRequest {
        visual_frames: visual.into(),
        ..batch("red", 2)
    })
    .await;
    let ones = infer(wire::CompositeBatchRequest {
        visual_frames: vec![1.0; avatars::VISUAL_LEN].into(),
        start_frame_idx: 1,
        ..batch("red", 1)
    })
    .await;
    assert_eq!(painted[1], ones[0]);
    assert_ne!(painted[0], quiet[0]);
    server.stop();
}

#[tokio::test]
async fn models_are_loaded_reloaded_and_unloaded_on_request() {
    let folder = avatars::plain(&["red", "green", "blue"]);
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let load = |id: &str, force_reload| wire::LoadModelRequest {
        model_id: id.to_owned(),
        force_reload,
    };
    for id in ["red", "green", "red"] {
        let answer = client
            .load_model(load(id, false))
            .await
            .unwrap()
            .into_inner();
        assert!(answer.success, "{}", answer.error);
    }
    let answer = client
        .load_model(load("red", true))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.stats.unwrap().load_count, 2);
    assert!(answer.load_time_ms > 0.0);
    // A third one: the least recently used of the two leaves.
    assert!(
        client
            .load_model(load("blue", false))
            .await
            .unwrap()
            .into_inner()
            .success
    );
    let list = client
        .list_models(wire::ListModelsRequest {})
        .await
        .unwrap()
        .into_inner();
    let loaded: Vec<_> = list
        .models
        .iter()
        .map(|model| (model.model_id.as_str(), model.loaded))
        .collect();
    assert_eq!(loaded, [("red", true), ("green", false), ("blue", true)]);
    // This machine is told paths.
    assert!(list.models[0].model_path.ends_with("generator.onnx"));
    assert_eq!(list.models[1].lifetime_stats.unwrap().load_count, 1);
    assert!(list.models[1].stats.is_none());

    for _ in 0..2 {
        let request = wire::UnloadModelRequest {
            model_id: "red".to_owned(),
        };
        assert!(
            client
                .unload_model(request)
                .await
                .unwrap()
                .into_inner()
                .success
        );
    }
    let health = client
        .health(wire::HealthRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(health.healthy && !health.cuda_available);
    assert_eq!((health.loaded_models, health.max_models), (1, 2));
    assert_eq!(health.version, env!("CARGO_PKG_VERSION"));
    let info = server.info().await;
    assert_eq!((info.loads, info.evictions, info.load_failures), (4, 1, 0));
    assert_eq!(info.engine, "rten");
    let log = server.stop();
    for line in [
        "loaded model",
        "evicting model",
        "unloaded model",
        "draining",
        "stopped",
    ] {
        assert!(log.contains(line), "no {line:?} in\n{log}");
    }
}

#[tokio::test]
async fn errors_are_told_in_band_or_as_statuses_with_details() {
    let folder = avatars::plain(&["red", "broken"]);
    std::fs::remove_file(folder.path().join("broken.json")).unwrap();
    let server = Server::start(&folder);
    let mut client = server.client().await;

    let unknown = client
        .infer_batch_composite(batch("nobody", 1))
        .await
        .unwrap()
        .into_inner();
    assert!(!unknown.success && unknown.composited_frames.is_empty());
    assert!(unknown.error.contains("nobody"), "{}", unknown.error);
    let status = client
        .infer_batch_composite(strict(batch("nobody", 1)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let details = status.get_error_details();
    assert_eq!(details.resource_info().unwrap().resource_name, "nobody");
    assert_eq!(details.error_info().unwrap().reason, "UNKNOWN_MODEL");

    let wrong = wire::CompositeBatchRequest {
        start_frame_idx: -1,
        ..batch("red", 26)
    };
    let told = client
        .infer_batch_composite(wrong.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(told.error.contains("batch_size") && told.error.contains("start_frame_idx"));
    let status = client
        .infer_batch_composite(strict(wrong))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let fields: Vec<_> = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert_eq!(fields, ["batch_size", "start_frame_idx"]);
    // Nothing was loaded for any of this.
    assert_eq!(server.info().await.loads, 0);

    let load = wire::LoadModelRequest {
        model_id: "broken".to_owned(),
        force_reload: false,
    };
    let told = client.load_model(load.clone()).await.unwrap().into_inner();
    assert!(
        !told.success && told.error.contains("broken.json"),
        "{}",
        told.error
    );
    let status = client.load_model(strict(load)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.get_error_details().retry_info().is_some());

    let stats = wire::GetModelStatsRequest {
        model_id: "nobody".to_owned(),
    };
    let status = client.get_model_stats(stats).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    server.stop();
}

#[tokio::test]
async fn an_answer_beyond_the_largest_message_is_refused_and_one_within_is_not() {
    let folder = Folder::new(&[]);
    folder.add_avatar_of((640, 480), "large", 0);
    folder.configure("max_message_size_mb: 1", "", &[("large", "")], "");
    let server = Server::start(&folder);
    let mut client = server.client().await;
    // 0.92 MB each.
    let frames = |count| wire::CompositeBatchRequest {
        output_format: wire::ImageFormat::Rgb.into(),
        ..batch("large", count)
    };
    let one = client.infer_batch_composite(frames(1)).await.unwrap();
    assert_eq!(one.into_inner().composited_frames[0].len(), 640 * 480 * 3);
    let told = client.infer_batch_composite(frames(2)).await.unwrap();
    let told = told.into_inner();
    assert!(!told.success && told.composited_frames.is_empty());
    assert!(told.error.contains("max_message_size_mb"), "{}", told.error);
    let status = client
        .infer_batch_composite(strict(frames(2)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "ANSWER_TOO_LARGE");
    server.stop();
}

#[tokio::test]
async fn a_clamped_sequence_ends_before_anything_is_loaded() {
    let folder = Folder::new(&["red"]);
    folder.configure("", "", &[("red", "sequence: clamp")], "");
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let at = |start| {
        strict(wire::CompositeBatchRequest {
            start_frame_idx: start,
            ..batch("red", 2)
        })
    };
    let status = client
        .infer_batch_composite(at(FRAMES as i32))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(server.info().await.loads, 0);
    let last = client
        .infer_batch_composite(at(FRAMES as i32 - 1))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(last.background_indices, [2, 2]);
    server.stop();
}

#[tokio::test]
async fn a_network_that_gives_no_numbers_is_an_error_of_its_request() {
    let folder = Folder::new(&["red", "nan"]);
    let network = avatars::golden("generator_nan.onnx");
    folder.configure("", "", &[("red", ""), ("nan", "")], "");
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let (head, tail) = text.split_once("  nan:").unwrap();
    let plain = avatars::golden("generator.onnx").display().to_string();
    let tail = tail.replace(&plain, &network.display().to_string());
    std::fs::write(folder.config(), format!("{head}  nan:{tail}")).unwrap();
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let status = client
        .infer_batch_composite(strict(batch("nan", 2)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains("frame"), "{status}");
    let fine = client
        .infer_batch_composite(batch("red", 1))
        .await
        .unwrap()
        .into_inner();
    assert!(fine.success);
    server.stop();
}
