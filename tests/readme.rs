//! The README's three commands, from a dataset to a page where the avatar talks, as they stand there.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::PATIENCE;
use common::avatars::Folder;
use common::process::Server;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PING: u8 = 9;

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The commands that the README's section on one's own avatar has its reader type, without their comments.
fn commands() -> Vec<Vec<String>> {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let (_, section) = readme.split_once("## Your own avatar").unwrap();
    let (_, block) = section.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let lines = block.lines().filter_map(|line| line.strip_prefix("$ "));
    lines
        .map(|line| {
            let words = line.split_whitespace().take_while(|word| *word != "#");
            words.map(str::to_owned).collect()
        })
        .collect()
}

/// What the training leaves, in the places that the README names: seeded networks with thin channels as torch saved
/// them, pictures, real landmarks.
fn leave_a_training(folder: &Path, checkpoint: &str, encoder: &str, dataset: &str) {
    let put = |from: &str, to: PathBuf| {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(repository("tests/golden").join(from), to).unwrap();
    };
    put("checkpoints/generator.pth", folder.join(checkpoint));
    put("checkpoints/audio_visual_encoder.pth", folder.join(encoder));
    let dataset = folder.join(dataset);
    std::fs::create_dir_all(dataset.join("full_body_img")).unwrap();
    for frame in 0..4_u32 {
        let landmarks = format!("landmarks/{frame}.lms");
        put(&landmarks, dataset.join(&landmarks));
        image::RgbImage::from_fn(1280, 720, |x, y| {
            image::Rgb([(60 * frame) as u8, (x / 5) as u8, (y / 3) as u8])
        })
        .save(dataset.join(format!("full_body_img/{frame}.jpg")))
        .unwrap();
    }
}

#[test]
fn from_a_dataset_to_a_talking_page_by_the_readmes_three_commands() {
    let commands = commands();
    let [import, serve, page] = &*commands else {
        panic!("three commands: {commands:?}");
    };
    assert_eq!(import[..2], ["lipsync", "import"]);
    assert_eq!(serve[..], ["lipsync", "serve"]);
    let option = |name: &str| {
        let place = import.iter().position(|word| word == name).unwrap();
        &*import[place + 1]
    };
    let name = option("--name");
    let folder = Folder::new(&[]);
    leave_a_training(
        folder.path(),
        option("--checkpoint"),
        option("--audio-encoder"),
        &import[2],
    );
    // Free ports instead of the usual ones, and the engine that every machine has.
    let config = "server:\n  port: 127.0.0.1:0\n  http_port: 127.0.0.1:0\nonnx:\n  backend: embedded\nmodels:\n";
    std::fs::write(folder.config(), config).unwrap();
    let imported = Command::new(env!("CARGO_BIN_EXE_lipsync"))
        .current_dir(folder.path())
        .args(&import[1..])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&imported.stderr);
    assert!(imported.status.success(), "{said}");
    // The page that the README opens is the one that the default configuration serves.
    let url = page.last().unwrap();
    let default = lipsync::config::Config::parse(
        "models: {a: {model_path: m, background_dir: b, crop_rects_path: c}}",
        Path::new("config.yaml"),
    )
    .unwrap();
    assert_eq!(
        *url,
        format!("{}/", default.server.http.as_ref().unwrap().local_url())
    );
    let server = Server::start(&folder);
    assert_eq!(server.ready["models"], serde_json::json!([name]));
    let (status, html) = server.get("/");
    assert_eq!(status, 200);
    assert!(html.contains("<html"), "{html}");
    let (status, models) = server.get("/api/status");
    assert!(
        status == 200 && models.contains(&format!("\"{name}\"")),
        "{models}"
    );
    let (frames, pictures) = talk(server.http, name);
    // What the reference makes of half a second: nine frames, and two more.
    assert_eq!(frames, 11);
    assert_eq!(pictures, frames);
    server.stop();
}

/// Says half a second to `model` as the page does; gives the utterance's frames, and how many pictures of it came.
fn talk(address: SocketAddr, model: &str) -> (u64, u64) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET /api/talk HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let start = serde_json::json!({
        "type": "start", "model_id": model, "sample_rate_hz": 16_000, "output_format": "jpeg",
    });
    send(&mut stream, TEXT, start.to_string().as_bytes());
    let sound: Vec<u8> = (0..8_000)
        .map(|n| ((n as f32 / 9.0).sin() * 9_000.0) as i16)
        .flat_map(i16::to_le_bytes)
        .collect();
    send(&mut stream, BINARY, &sound);
    send(&mut stream, TEXT, br#"{"type":"end_of_speech"}"#);
    let mut pictures = 0;
    loop {
        match receive(&mut stream) {
            (BINARY, message) => {
                let length = u32::from_le_bytes(message[..4].try_into().unwrap()) as usize;
                let (header, picture) = message[4..].split_at(length);
                let header: serde_json::Value = serde_json::from_slice(header).unwrap();
                let picture = image::load_from_memory(picture).unwrap();
                assert_eq!((picture.width(), picture.height()), (1280, 720));
                pictures += u64::from(header["kind"] == "speech");
            }
            (TEXT, text) => {
                let told: serde_json::Value = serde_json::from_slice(&text).unwrap();
                assert_ne!(told["type"], "error", "{told}");
                if told["type"] == "utterance_end" {
                    return (told["frames"].as_u64().unwrap(), pictures);
                }
            }
            (PING, _) => (),
            (kind, _) => panic!("a message of kind {kind}"),
        }
    }
}

/// Sends a message, masked with zeros.
fn send(stream: &mut TcpStream, kind: u8, payload: &[u8]) {
    let mut bytes = vec![0x80 | kind, 0x80 | 127];
    bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    stream.write_all(&bytes).unwrap();
}

/// The next message: its kind and its content.
fn receive(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut length = [0; 8];
    let bytes = match head[1] {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    stream.read_exact(&mut length[8 - bytes..]).unwrap();
    let length = match bytes {
        0 => u64::from(head[1]),
        _ => u64::from_be_bytes(length),
    };
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).unwrap();
    (head[0] & 0xf, payload)
}
