//! `deploy/haproxy.cfg` as it stands, but for its addresses, before three real servers.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;
use lipsync::wire;
use lipsync::wire::multi_tenant_lip_sync_client::MultiTenantLipSyncClient;
use tonic::transport::{Channel, Endpoint};

use crate::common::avatars::Folder;
use crate::common::process::{Server, batch, strict};
use crate::common::{PATIENCE, eventually, skip};
use crate::file;

/// Servers are named thus in the configuration.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A proxy of the configuration; killed when dropped.
struct Proxy {
    child: Child,
    grpc: SocketAddr,
    http: SocketAddr,
    _dir: tempfile::TempDir,
}

/// A port nobody listens to.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Our configuration with the servers that are given; their number may be below three.
fn configuration(servers: &[(SocketAddr, SocketAddr)], ports: [u16; 2]) -> String {
    let text = std::fs::read_to_string(file("haproxy.cfg")).unwrap();
    let mut lines = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("    server ") else {
            let line = line
                .replace("bind :50053", &format!("bind 127.0.0.1:{}", ports[0]))
                .replace("bind :8080", &format!("bind 127.0.0.1:{}", ports[1]))
                .replace(" port 8080", "");
            lines.push(line);
            continue;
        };
        let mut words = rest.split(' ');
        let (name, address) = (words.next().unwrap(), words.next().unwrap());
        let options: Vec<&str> = words.collect();
        let index = NAMES.iter().position(|one| *one == name).unwrap();
        let Some((grpc, http)) = servers.get(index) else {
            continue;
        };
        let to = if address.ends_with(":50053") {
            grpc
        } else {
            http
        };
        let (port, options) = (http.port(), options.join(" "));
        lines.push(format!("    server {name} {to} port {port} {options}"));
    }
    lines.join("\n") + "\n"
}

impl Proxy {
    /// `None`, said as a skip, where it is not installed.
    async fn start(servers: &[&Server]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("haproxy.cfg");
        let addresses: Vec<_> = servers
            .iter()
            .map(|server| (server.grpc, server.http))
            .collect();
        let ports = [free_port(), free_port()];
        std::fs::write(&path, configuration(&addresses, ports)).unwrap();
        let child = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                skip::skipped("haproxy", error);
                return None;
            }
        };
        let proxy = Self {
            child,
            grpc: SocketAddr::from(([127, 0, 0, 1], ports[0])),
            http: SocketAddr::from(([127, 0, 0, 1], ports[1])),
            _dir: dir,
        };
        eventually("the proxy answers", async || {
            let mut client = proxy.client().await?;
            client.health(wire::HealthRequest::default()).await.ok()
        })
        .await;
        Some(proxy)
    }

    async fn channel(&self) -> Option<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap();
        endpoint.connect().await.ok()
    }

    async fn client(&self) -> Option<MultiTenantLipSyncClient<Channel>> {
        Some(MultiTenantLipSyncClient::new(self.channel().await?))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One frame of `model`, named for the proxy as our clients do.
async fn frame(
    client: &mut MultiTenantLipSyncClient<Channel>,
    model: &str,
) -> Result<(), tonic::Status> {
    let mut request = strict(batch(model, 1));
    request
        .metadata_mut()
        .insert("x-model-id", model.parse().unwrap());
    client.infer_batch_composite(request).await.map(drop)
}

/// Sixty models that share one avatar's files.
fn models() -> Vec<String> {
    (0..60).map(|index| format!("avatar-{index:02}")).collect()
}

fn folder() -> Folder {
    let folder = Folder::new(&["red"]);
    let server = "drain_notice_seconds: 5\ndrain_seconds: 20\n";
    folder.configure(server, "", &[("red", "")], "");
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let text = text.replacen("max_models: 2\n", "max_models: 60\n", 1);
    let (head, files) = text.split_once("  red:\n").unwrap();
    let mut lines = vec![head.to_owned()];
    for model in models() {
        lines.push(format!("  {model}:\n"));
        lines.push(files.to_owned());
    }
    std::fs::write(folder.config(), lines.concat()).unwrap();
    folder
}

/// The models that a server has loaded.
async fn loaded(server: &Server) -> BTreeSet<String> {
    let mut client = server.client().await;
    let request = wire::ListModelsRequest::default();
    let list = client.list_models(request).await.unwrap().into_inner();
    list.models
        .into_iter()
        .filter(|model| model.loaded)
        .map(|model| model.model_id)
        .collect()
}

/// Asks for a frame of each model, one after the other.
async fn ask_for_all(proxy: &Proxy) {
    let mut client = proxy.client().await.unwrap();
    for model in models() {
        frame(&mut client, &model).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_spread_evenly_and_a_server_more_moves_only_its_share() {
    let folder = folder();
    let servers: Vec<Server> = NAMES.iter().map(|_| Server::start(&folder)).collect();
    let Some(two) = Proxy::start(&[&servers[0], &servers[1]]).await else {
        return;
    };
    ask_for_all(&two).await;
    let before = [loaded(&servers[0]).await, loaded(&servers[1]).await];
    assert_eq!(before[0].len() + before[1].len(), 60, "each on one server");
    drop(two);

    let three = Proxy::start(&servers.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    ask_for_all(&three).await;
    let new = loaded(&servers[2]).await;
    // Those that the first two serve no more stay loaded there until they are idle: where the hash sends a model now
    // is where it is that was loaded last.
    let counts = [
        before[0].difference(&new).count(),
        before[1].difference(&new).count(),
        new.len(),
    ];
    println!("60 models on three servers: {counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), 60);
    for server in &servers[..2] {
        // Nothing went from one of the old servers to the other.
        let now = loaded(server).await;
        assert!(before.contains(&now), "{now:?}");
    }
    // A hash spreads by chance: the largest share of sixty is some way above a third.
    assert!(counts.iter().max().unwrap() * 3 <= 60 * 5 / 4, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_model_spills_and_a_cold_one_stays() {
    let folder = folder();
    let servers: Vec<Server> = NAMES.iter().map(|_| Server::start(&folder)).collect();
    let Some(proxy) = Proxy::start(&servers.iter().collect::<Vec<_>>()).await else {
        return;
    };
    let mut client = proxy.client().await.unwrap();
    for _ in 0..10 {
        frame(&mut client, "avatar-07").await.unwrap();
    }
    let mut holders = 0;
    for server in &servers {
        holders += usize::from(loaded(server).await.contains("avatar-07"));
    }
    assert_eq!(holders, 1, "one call at a time stays on one server");

    let mut clients = Vec::new();
    for _ in 0..24 {
        clients.push(proxy.client().await.unwrap());
    }
    join_all(clients.iter_mut().map(async |client| {
        for _ in 0..4 {
            frame(client, "avatar-08").await.unwrap();
        }
    }))
    .await;
    let mut holders = 0;
    for server in &servers {
        holders += usize::from(loaded(server).await.contains("avatar-08"));
    }
    assert!(
        holders >= 2,
        "{holders} servers took 24 callers of one model"
    );
}

/// Callers that ask for frames of all models, each on a connection of its own, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Vec<tonic::Status>>>,
}

impl Load {
    async fn start(proxy: &Proxy, callers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for caller in 0..callers {
            let mut client = proxy.client().await.unwrap();
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tasks.push(tokio::spawn(async move {
                let mut failures = Vec::new();
                let all = models();
                for index in (caller..).step_by(callers) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match frame(&mut client, &all[index % all.len()]).await {
                        Ok(()) => _ = done.fetch_add(1, Ordering::Relaxed),
                        Err(status) => failures.push(status),
                    }
                }
                failures
            }));
        }
        Self { stop, done, tasks }
    }

    /// Waits until so many more calls went well.
    async fn more(&self, calls: usize) {
        let until = self.done.load(Ordering::Relaxed) + calls;
        eventually("calls go on", async || {
            (self.done.load(Ordering::Relaxed) >= until).then_some(())
        })
        .await;
    }

    /// Ends it: what failed.
    async fn end(self) -> Vec<tonic::Status> {
        self.stop.store(true, Ordering::Relaxed);
        let all = tokio::time::timeout(PATIENCE, join_all(self.tasks)).await;
        all.unwrap().into_iter().flat_map(Result::unwrap).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_costs_no_call_and_one_that_is_killed_only_those_it_had() {
    const CALLERS: usize = 6;
    let folder = folder();
    let mut servers: Vec<Server> = NAMES.iter().map(|_| Server::start(&folder)).collect();
    let Some(proxy) = Proxy::start(&servers.iter().collect::<Vec<_>>()).await else {
        return;
    };
    ask_for_all(&proxy).await;

    let load = Load::start(&proxy, CALLERS).await;
    load.more(60).await;
    servers[0].signal("TERM");
    assert!(servers[0].wait().success());
    load.more(120).await;
    let failures = load.end().await;
    assert!(
        failures.is_empty(),
        "{} failed: {:?}",
        failures.len(),
        failures.first()
    );

    let load = Load::start(&proxy, CALLERS).await;
    load.more(60).await;
    servers[1].signal("KILL");
    load.more(120).await;
    let failures = load.end().await;
    println!("calls lost by kill -9: {}", failures.len());
    // At most one a caller was on its way when the server went.
    assert!(failures.len() <= CALLERS, "{:?}", failures.last());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_comes_through() {
    let folder = folder();
    let servers: Vec<Server> = NAMES.iter().map(|_| Server::start(&folder)).collect();
    let Some(proxy) = Proxy::start(&servers.iter().collect::<Vec<_>>()).await else {
        return;
    };
    let (status, body) = crate::common::process::get(proxy.http, "/");
    assert_eq!(status, 200);
    assert!(body.contains("<html"), "{body}");
}
