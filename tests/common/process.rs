//! The real binary, serving.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use lipsync::wire;
use lipsync::wire::lip_sync_client::LipSyncClient;
use lipsync::wire::multi_tenant_lip_sync_client::MultiTenantLipSyncClient;
use tonic::transport::{Channel, Endpoint};

use super::PATIENCE;
use super::avatars::{AUDIO_LEN, Folder};

/// Messages of a test may be large.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// `lipsync serve` in a process of its own; killed when dropped.
pub struct Server {
    child: Child,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub metrics: SocketAddr,
    /// What it announced.
    pub ready: serde_json::Value,
    log: std::path::PathBuf,
}

impl Server {
    /// Starts it with the folder's configuration and waits until it is ready.
    pub fn start(folder: &Folder) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same with further arguments.
    pub fn start_with(folder: &Folder, arguments: &[&str]) -> Self {
        let mut command = command(folder);
        command.args(arguments);
        Self::start_as(folder, command)
    }

    /// The same by a command of one's own, which runs [`command`]'s.
    pub fn start_as(folder: &Folder, mut command: Command) -> Self {
        let log = folder.path().join("stderr.log");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut document = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            document += &line;
            if line == "}" {
                break;
            }
        }
        let ready: serde_json::Value = serde_json::from_str(&document)
            .unwrap_or_else(|_| panic!("no start: {}", std::fs::read_to_string(&log).unwrap()));
        let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        Self {
            child,
            grpc: address("grpc"),
            http: address("http"),
            metrics: address("metrics"),
            log,
            ready,
        }
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub async fn client(&self) -> MultiTenantLipSyncClient<Channel> {
        MultiTenantLipSyncClient::new(self.channel().await)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub async fn info(&self) -> wire::GetServerInfoResponse {
        let mut client = LipSyncClient::new(self.channel().await);
        let request = wire::GetServerInfoRequest::default();
        client.get_server_info(request).await.unwrap().into_inner()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `TERM`, `INT`, `HUP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "does not end:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Ends it as an operator does, and expects that to go well.
    pub fn stop(mut self) -> String {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status}:\n{}", self.log());
        self.log()
    }

    /// What it has written to stderr so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// A page over HTTP: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.http, path)
    }

    /// One value of the metrics page, by its whole name.
    ///
    /// Only times have fractions, and no test looks at those: the rest are counts and bytes.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let (status, page) = get(self.metrics, "/metrics");
        assert_eq!(status, 200);
        let line = page.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().parse::<f64>().unwrap() as u64)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page over HTTP: status and body.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// `lipsync serve` with the folder's configuration, not started yet.
pub fn command(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lipsync"));
    command
        .args(["serve", "--json", "--config"])
        .arg(folder.config())
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// A request for `size` frames of `model`, with one quiet window for all.
pub fn batch(model: &str, size: i32) -> wire::CompositeBatchRequest {
    wire::CompositeBatchRequest {
        model_id: model.to_owned(),
        audio_features: vec![0.25; AUDIO_LEN].into(),
        batch_size: size,
        ..wire::CompositeBatchRequest::default()
    }
}

/// `message` as a request that wants errors as statuses.
pub fn strict<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value = wire::STATUS_ERRORS.parse().unwrap();
    request.metadata_mut().insert(wire::ERRORS_KEY, value);
    request
}
