//! How quickly a server notices that a client is gone, and gives back what it had.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use lipsync::cli::output::table;
use lipsync::wire::ImageFormat;
use lipsync::wire::TalkStart;
use lipsync::wire::talk_response::Message as Told;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::ServerArgs;
use crate::cable::{Cable, Cut};
use crate::figures::Spread;
use crate::stream;

/// How long until a client that vanishes has given back its stream and its lease
///
/// Each run opens a stream over a TCP connection of its own, speaks, takes some frames, and cuts the connection while
/// frames are on their way: closed as when a process ends, and reset as when a machine restarts. Then /metrics is asked
/// every few milliseconds until the gauges `streams_open` and `model_leases` are back at zero. The times are from the
/// cut to the answer that said so, and hold one such question.
#[derive(Clone, Debug, Args)]
pub(crate) struct VanishArgs {
    /// The address of the server's metrics
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    http: String,
    /// Runs for each way to vanish
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Frames taken before the cut
    #[arg(long, default_value_t = 10)]
    frames: usize,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Vanished {
    model: String,
    /// From one question to the next, in milliseconds.
    poll_ms: u64,
    ways: Vec<Way>,
}

/// One way to vanish.
#[derive(Debug, Serialize)]
struct Way {
    connection: &'static str,
    realtime: bool,
    /// From the cut to the gauges at zero, in milliseconds.
    freed_ms: Spread,
}

/// From one question to the next.
const POLL: Duration = Duration::from_millis(2);
/// When a run is given up.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn run(server: &ServerArgs, args: &VanishArgs) -> Result<Vanished> {
    ensure!(
        held(args, &server.model).await? == 0,
        "somebody else uses {}: its streams would be counted too",
        server.model
    );
    let mut ways = Vec::new();
    for (connection, cut) in [("closed", Cut::Close), ("reset", Cut::Reset)] {
        for realtime in [true, false] {
            let mut freed = Vec::new();
            for _ in 0..args.runs {
                freed.push(once(server, args, realtime, cut).await?.as_secs_f64() * 1e3);
            }
            ways.push(Way {
                connection,
                realtime,
                freed_ms: Spread::of(freed),
            });
        }
    }
    Ok(Vanished {
        model: server.model.clone(),
        poll_ms: POLL.as_millis() as u64,
        ways,
    })
}

/// From the cut to the gauges at zero.
async fn once(
    server: &ServerArgs,
    args: &VanishArgs,
    realtime: bool,
    cut: Cut,
) -> Result<Duration> {
    let cable = Cable::to(server.server.clone()).await?;
    let channel = stream::connect(&cable.address.to_string()).await?;
    let start = TalkStart {
        realtime,
        output_format: ImageFormat::Rgb.into(),
        ..stream::start(&server.model)
    };
    let (voice, mut talk) = stream::open(&channel, start).await?;
    let sample = stream::sample()?;
    let speaking = tokio::spawn(async move { while voice.say(sample.clone()).await {} });
    let mut frames = 0;
    while frames < args.frames {
        frames += usize::from(matches!(talk.more().await?, Told::Frame(_)));
    }
    ensure!(
        held(args, &server.model).await? == 2,
        "the stream is not counted"
    );
    let gone = cable.cut(cut).await?;
    while held(args, &server.model).await? > 0 {
        ensure!(
            gone.elapsed() < PATIENCE,
            "not given back within {PATIENCE:?}"
        );
        tokio::time::sleep(POLL).await;
    }
    let freed = gone.elapsed();
    speaking.abort();
    Ok(freed)
}

/// Streams open and leases of the model.
async fn held(args: &VanishArgs, model: &str) -> Result<u64> {
    let page = metrics(&args.http).await?;
    let value = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse::<u64>().ok())
            .with_context(|| format!("/metrics of {} does not tell {name}", args.http))
    };
    let leases = format!("lipsync_model_leases{{model=\"{model}\"}}");
    Ok(value("lipsync_streams_open ")? + value(&leases)?)
}

async fn metrics(http: &str) -> Result<String> {
    let mut stream = TcpStream::connect(http)
        .await
        .with_context(|| format!("no server answers at {http}: give --http its HTTP address"))?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {http}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}

impl Vanished {
    pub(crate) fn human(&self) -> String {
        let header = ["connection", "frames", "runs", "p50 ms", "p95 ms", "max ms"];
        let mut table = table(header, 2);
        for way in &self.ways {
            let freed = &way.freed_ms;
            table.add_row([
                way.connection.to_owned(),
                if way.realtime { "paced" } else { "as made" }.to_owned(),
                freed.count.to_string(),
                format!("{:.1}", freed.p50),
                format!("{:.1}", freed.p95),
                format!("{:.1}", freed.max),
            ]);
        }
        let worst = self.ways.iter().map(|way| way.freed_ms.max);
        format!(
            "{}: from a connection's end to stream and lease given back (asked every {} ms)\n{table}\nthe slowest took {:.1} ms\n",
            self.model,
            self.poll_ms,
            worst.fold(0.0, f64::max)
        )
    }
}
