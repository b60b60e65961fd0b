//! The plans that were measured, kept in a file beside each network.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::{Plan, cpu_cache};
use crate::engine::{BackendInfo, SessionOptions};

/// Most results in one file: a network on a shared disk meets several machines and engines.
const RESULTS_MAX: usize = 32;

/// What was measured, and under what conditions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Result {
    conditions: String,
    plan: Plan,
}

/// Where the results of a network are kept.
fn file(network: &Path) -> PathBuf {
    let mut name = network.as_os_str().to_owned();
    name.push(".plans.json");
    PathBuf::from(name)
}

/// All that a result depends on: machine, engine, the network's file, and how its sessions run.
pub(super) fn conditions(
    engine: &BackendInfo,
    network: &Path,
    options: &SessionOptions,
    cache_bytes: Option<u64>,
) -> Option<String> {
    let file = fs::metadata(network).ok()?;
    let modified = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Some(format!(
        "{engine}; {}, {cores} cores, {} KiB of cache a core; {} bytes of {}; {} threads, backgrounds {}",
        processor(),
        cache_bytes.unwrap_or_else(cpu_cache::share_bytes) >> 10,
        file.len(),
        modified.as_millis(),
        options.intra_threads,
        if options.visual_cache.is_some() {
            "kept"
        } else {
            "not kept"
        },
    ))
}

/// The processor's name, as Linux gives it.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let parts = ["vendor_id", "cpu family", "model", "model name"].map(field);
    let known: Vec<String> = parts.into_iter().flatten().collect();
    if known.is_empty() {
        std::env::consts::ARCH.to_owned()
    } else {
        known.join(" ")
    }
}

/// The plan that was the best under these conditions, if it was measured. A file that cannot be read holds none.
pub(super) fn kept(network: &Path, conditions: &str) -> Option<Plan> {
    let results = read(&file(network));
    let found = results.into_iter().find(|r| r.conditions == conditions);
    found.map(|result| result.plan)
}

fn read(path: &Path) -> Vec<Result> {
    let text = fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Keeps a result.
///
/// # Errors
/// When the folder cannot be written to.
pub(super) fn keep(network: &Path, conditions: &str, plan: Plan) -> std::io::Result<()> {
    let path = file(network);
    let mut results = read(&path);
    results.retain(|result| result.conditions != conditions);
    results.truncate(RESULTS_MAX - 1);
    results.insert(
        0,
        Result {
            conditions: conditions.to_owned(),
            plan,
        },
    );
    let part = path.with_extension(format!("{}.part", std::process::id()));
    fs::write(&part, serde_json::to_vec_pretty(&results)?)?;
    fs::rename(&part, &path).inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_found_under_its_own_conditions_only() {
        let folder = tempfile::tempdir().unwrap();
        let network = folder.path().join("unet.onnx");
        assert_eq!(kept(&network, "here"), None);
        keep(&network, "here", Plan::SPLIT).unwrap();
        keep(&network, "there", Plan::grouped(Some(1 << 20))).unwrap();
        keep(&network, "here", Plan::PLAIN).unwrap();
        assert_eq!(kept(&network, "here"), Some(Plan::PLAIN));
        assert_eq!(kept(&network, "there"), Some(Plan::grouped(Some(1 << 20))));
        assert_eq!(kept(&network, "elsewhere"), None);
        for machine in 0..100 {
            keep(&network, &machine.to_string(), Plan::SPLIT).unwrap();
        }
        assert_eq!(read(&file(&network)).len(), RESULTS_MAX);
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 1, "nothing half written is left");
    }

    #[test]
    fn a_broken_file_is_measured_anew() {
        let folder = tempfile::tempdir().unwrap();
        let network = folder.path().join("unet.onnx");
        fs::write(file(&network), b"{").unwrap();
        assert_eq!(kept(&network, "here"), None);
        keep(&network, "here", Plan::SPLIT).unwrap();
        assert_eq!(kept(&network, "here"), Some(Plan::SPLIT));
    }

    #[test]
    fn another_file_is_other_conditions() {
        let folder = tempfile::tempdir().unwrap();
        let network = folder.path().join("unet.onnx");
        let engine = crate::engine::engine_tests::engines()[0].info().clone();
        let options = SessionOptions::default();
        let of = || conditions(&engine, &network, &options, None);
        assert_eq!(of(), None, "there is no file");
        fs::write(&network, b"one").unwrap();
        let one = of().unwrap();
        assert_eq!(of().unwrap(), one);
        fs::write(&network, b"three").unwrap();
        assert_ne!(of().unwrap(), one);
        assert_ne!(conditions(&engine, &network, &options, Some(1)), of());
    }
}
