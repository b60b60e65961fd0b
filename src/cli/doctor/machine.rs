//! What the machine gives: processors, memory, handles, graphics, clock. Where the system does not tell, nothing is said.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const GIB: f64 = (1_u64 << 30) as f64;

/// The memory that this process may take: the smallest limit of its control groups, or what the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) bytes: u64,
    /// Whether a control group says so.
    pub(super) limited: bool,
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whose = if self.limited {
            "a control group's limit"
        } else {
            "the machine's, no control group limits it"
        };
        write!(f, "{:.1} GB, {whose}", self.bytes as f64 / GIB)
    }
}

/// The memory of this process.
pub(super) fn memory() -> Option<Memory> {
    let all = installed(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(least(
        all,
        group_limit(Path::new("/sys/fs/cgroup"), &groups),
    ))
}

fn least(all: u64, limit: Option<u64>) -> Memory {
    match limit {
        Some(limit) if limit < all => Memory {
            bytes: limit,
            limited: true,
        },
        _ => Memory {
            bytes: all,
            limited: false,
        },
    }
}

fn installed(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The smallest limit of the groups that `groups` (`/proc/self/cgroup`) names and of those above them. In a container
/// the group's own folder is the root of what is mounted, whatever it is called outside.
fn group_limit(root: &Path, groups: &str) -> Option<u64> {
    let mut files = vec![
        root.join("memory.max"),
        root.join("memory/memory.limit_in_bytes"),
    ];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (folder, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let below = Path::new(path.trim_start_matches('/'));
        let above = below.ancestors().map(|part| folder.join(part).join(file));
        files.extend(above);
    }
    let limits = files.iter().filter_map(|file: &PathBuf| {
        // `max` where there is none.
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    });
    limits.min()
}

/// How many files and sockets a process started from here may have open: the server raises its limit to the hard one.
pub(super) fn open_files() -> Option<u64> {
    hard_limit(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn hard_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// The driver of an NVIDIA GPU, in its own words, if there is one.
pub(super) fn nvidia_driver() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let line = text.lines().next()?;
    Some(line.trim_start_matches("NVRM version:").trim().to_owned())
}

/// How far the clock is behind the time at which this program was written to disk, if it is.
pub(super) fn clock_behind() -> Option<Duration> {
    let program = std::env::current_exe().ok()?;
    let written = program.metadata().ok()?.modified().ok()?;
    // A day: time zones of archives and clocks of builders.
    let behind = written.duration_since(SystemTime::now()).ok()?;
    (behind > Duration::from_hours(24)).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_of_the_groups_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        let limit = |groups: &str| group_limit(root.path(), groups);
        assert_eq!(limit("0::/a.slice/b.service\n"), None);
        put("a.slice/b.service/memory.max", "max\n");
        assert_eq!(limit("0::/a.slice/b.service\n"), None);
        put("a.slice/memory.max", "3000000000\n");
        assert_eq!(limit("0::/a.slice/b.service\n"), Some(3_000_000_000));
        put("a.slice/b.service/memory.max", "2000000000\n");
        assert_eq!(limit("0::/a.slice/b.service\n"), Some(2_000_000_000));
        // Inside a container the path names a folder that is not mounted.
        put("memory.max", "1000000000\n");
        assert_eq!(limit("0::/docker/0123\n"), Some(1_000_000_000));
        // The first version's groups; without a limit it says a number beyond all memory.
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("memory/docker/0123");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("memory.limit_in_bytes");
        std::fs::write(&file, "500000000\n").unwrap();
        let groups = "5:cpu,cpuacct:/docker/0123\n4:memory:/docker/0123\nnonsense\n";
        assert_eq!(group_limit(root.path(), groups), Some(500_000_000));
        std::fs::write(&file, "9223372036854771712\n").unwrap();
        let memory = least(1 << 30, group_limit(root.path(), groups));
        assert_eq!((memory.bytes, memory.limited), (1 << 30, false));
    }

    #[test]
    fn what_the_system_writes_is_read() {
        assert_eq!(
            installed("MemTotal:       24576 kB\nMemFree: 1 kB\n"),
            Some(24 << 20)
        );
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(hard_limit(limits), Some(524_288));
        assert_eq!(
            hard_limit("Max open files  unlimited unlimited files"),
            Some(u64::MAX)
        );
    }
}
