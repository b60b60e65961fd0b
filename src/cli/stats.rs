//! `lipsync stats`: what a server does, once or continuously.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{BinaryBytes, HumanCount, HumanDuration};
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::Global;
use super::connect::{ServerArgs, about};
use super::models::{memory, status};
use super::output::{Output, table};
use crate::client::{Client, ClientError, Stats};
use crate::engine::Plan;

/// Options of `stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this model
    model: Option<String>,
    /// Look again every so many seconds, until Ctrl-C, and show rates
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = period
    )]
    watch: Option<Duration>,
    #[command(flatten)]
    server: ServerArgs,
}

fn period(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Ok(_) => Err("give 0.1 to 3600 seconds".to_owned()),
        Err(_) => Err("not a number of seconds; a model's name goes before --watch".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// If no server answers, it refuses, or stdout cannot be written to. While watching, a server may be away.
pub(crate) fn run(global: &Global, args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    super::block_on(async {
        let client = args.server.connect(global).await?;
        let model = args.model.as_deref();
        if let Some(period) = args.watch {
            tokio::select! {
                end = watch(&client, model, period, output) => end?,
                interrupted = tokio::signal::ctrl_c() => interrupted?,
            }
        } else {
            let stats = client.stats(model).await;
            let stats = about(&client, model.unwrap_or_default(), stats).await?;
            let look = Look::new(&client, Ok(&stats), None);
            output.result(&look, || look.text())?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Looks again and again; a server that is away is waited for.
async fn watch(
    client: &Client,
    model: Option<&str>,
    period: Duration,
    output: &Output,
) -> anyhow::Result<()> {
    let live = if output.is_json() {
        None
    } else {
        output.live()
    };
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<(Instant, Stats)> = None;
    loop {
        ticks.tick().await;
        let answer = client.stats(model).await;
        let now = Instant::now();
        let rates = match (&before, &answer) {
            (Some((then, before)), Ok(stats)) => Rates::between(before, stats, now - *then),
            _ => None,
        };
        let look = match &answer {
            Err(error) if !error.is_away() => {
                return about(client, model.unwrap_or_default(), answer.map(|_| ())).await;
            }
            answer => Look::new(client, answer.as_ref(), rates),
        };
        match &live {
            Some(live) => live.draw(look.text()),
            None if output.is_json() => output.text(&serde_json::to_string(&look)?)?,
            None => output.text(&format!("{}\n\n", look.text()))?,
        }
        before = answer.ok().map(|stats| (now, stats));
    }
}

/// What `--json` prints: one document, or with `--watch` one line a look.
#[derive(Serialize)]
struct Look<'a> {
    url: &'a str,
    time_unix_ms: u64,
    reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    stats: Option<&'a Stats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<Rates>,
}

/// Frames a second since the look before.
#[derive(Debug, PartialEq, Serialize)]
struct Rates {
    frames_per_second: f64,
    models: BTreeMap<String, f64>,
}

impl Rates {
    /// `None` if the server began anew in between: its counts did as well.
    fn between(before: &Stats, now: &Stats, elapsed: Duration) -> Option<Self> {
        let same_server = before.server.started_unix_ms == now.server.started_unix_ms;
        let seconds = elapsed.as_secs_f64();
        if !same_server || seconds <= 0.0 {
            return None;
        }
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        let models = now.models.iter().map(|model| {
            let earlier = before.models.iter().find(|earlier| earlier.id == model.id);
            let earlier = earlier.map_or(0, |earlier| earlier.figures.frames);
            (model.id.clone(), rate(earlier, model.figures.frames))
        });
        Some(Self {
            frames_per_second: rate(before.server.frames, now.server.frames),
            models: models.collect(),
        })
    }
}

impl<'a> Look<'a> {
    fn new(
        client: &'a Client,
        answer: Result<&'a Stats, &ClientError>,
        rates: Option<Rates>,
    ) -> Self {
        Self {
            url: client.server(),
            time_unix_ms: now_unix_ms(),
            reachable: answer.is_ok(),
            error: answer.err().map(ToString::to_string),
            stats: answer.ok(),
            rates,
        }
    }

    /// The look for people: the server in a few lines, then a table of its models.
    fn text(&self) -> String {
        let Some(stats) = self.stats else {
            let reason = self.error.as_deref().unwrap_or_default();
            return format!("the server is away, waiting for it: {reason}");
        };
        let mut text = head(self.url, stats, self.time_unix_ms);
        if let Some(rates) = &self.rates {
            let _ = write!(text, " · {:.1}/s", rates.frames_per_second);
        }
        text.push('\n');
        text + &self.models_table(&stats.models)
    }

    fn models_table(&self, models: &[crate::client::ModelReport]) -> String {
        let header = [
            "model",
            "status",
            "leases",
            "frames",
            "frames/s",
            "ms/frame",
            "loads",
            "memory",
            "last used",
        ];
        let mut table = table(header, 2);
        for model in models {
            let figures = &model.figures;
            let rates = self.rates.as_ref();
            let rate = rates.and_then(|rates| rates.models.get(&model.id));
            let used = figures.last_used_unix_ms.map_or_else(
                || "never".to_owned(),
                |then| format!("{} ago", ago(self.time_unix_ms, then)),
            );
            table.add_row([
                model.id.clone(),
                status(model),
                model.leases.to_string(),
                HumanCount(figures.frames).to_string(),
                rate.map(|rate| format!("{rate:.1}")).unwrap_or_default(),
                figures
                    .inference_ms_mean()
                    .map(|ms| format!("{ms:.1}"))
                    .unwrap_or_default(),
                figures.loads.to_string(),
                memory(figures),
                used,
            ]);
        }
        let kept = models.iter().filter_map(|model| {
            let cache = model.visual_cache?;
            let share = 100.0 * cache.hits as f64 / (cache.hits + cache.misses).max(1) as f64;
            Some(format!(
                "\n{}: {} backgrounds kept for the network, {}, {share:.1} % of {} frames found theirs",
                model.id,
                cache.backgrounds,
                BinaryBytes(cache.memory_bytes),
                HumanCount(cache.hits + cache.misses),
            ))
        });
        let plain = Plan::PLAIN.to_string();
        let rewritten = models.iter().filter_map(|model| {
            let plan = model.plan.as_ref().filter(|plan| **plan != plain)?;
            Some(format!(
                "\n{}: its network runs rewritten: {plan}",
                model.id
            ))
        });
        let below: String = kept.chain(rewritten).collect();
        table.to_string() + &below
    }
}

/// The lines above the table; the last one ends with the count of frames.
fn head(url: &str, stats: &Stats, now_unix_ms: u64) -> String {
    let (server, capacity) = (&stats.server, &stats.capacity);
    let state = if server.draining { " · stopping" } else { "" };
    format!(
        "lipsync {} at {url} · {} · up {}{state}\n\
         models    {} of {} loaded · {} leaves first\n\
         memory    {} of {} {}\n\
         requests  {} of {} in progress · {} taken · {} refused\n\
         streams   {} of {} open\n\
         loads     {} · {} failed · {} evicted\n\
         frames    {}",
        server.version,
        server.engine_text(),
        ago(now_unix_ms, server.started_unix_ms),
        capacity.loaded_models,
        capacity.max_models,
        server.eviction_policy,
        BinaryBytes(capacity.memory_bytes),
        BinaryBytes(capacity.max_memory_bytes),
        gauge(capacity.memory_bytes, capacity.max_memory_bytes),
        server.requests_in_progress,
        server.max_concurrent_requests,
        HumanCount(server.requests),
        HumanCount(server.rejections),
        server.streams_open,
        server.max_streams,
        HumanCount(server.loads),
        HumanCount(server.load_failures),
        HumanCount(server.evictions),
        HumanCount(server.frames),
    )
}

/// How much of a budget is used, as a bar of 20 places.
fn gauge(used: u64, budget: u64) -> String {
    const PLACES: usize = 20;
    let part = used as f64 / budget.max(1) as f64;
    let full = (part.clamp(0.0, 1.0) * PLACES as f64).round() as usize;
    format!(
        "{}{} {:.0} %",
        "█".repeat(full),
        "░".repeat(PLACES - full),
        part * 100.0
    )
}

/// The time between two moments, in its largest unit; none if the clocks disagree.
fn ago(now_unix_ms: u64, then_unix_ms: u64) -> HumanDuration {
    HumanDuration(Duration::from_millis(
        now_unix_ms.saturating_sub(then_unix_ms),
    ))
}

fn now_unix_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
