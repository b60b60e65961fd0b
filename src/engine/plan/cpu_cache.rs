//! How much cache a core may count on, as the system tells it.

use std::fs;
use std::path::Path;

/// Where Linux describes the caches of the first core.
const CACHES: &str = "/sys/devices/system/cpu/cpu0/cache";
/// Taken where the system does not say: what a core has of the largest cache in most servers.
const UNKNOWN: u64 = 4 << 20;

/// Bytes of the largest cache that one core may count on: its size by the cores that share it.
///
/// A virtual machine sees its own cores only. What neighbours take of the cache shows in the measuring, not here.
pub(in crate::engine) fn share_bytes() -> u64 {
    share_in(Path::new(CACHES)).unwrap_or(UNKNOWN)
}

fn share_in(caches: &Path) -> Option<u64> {
    let folders = fs::read_dir(caches).ok()?.flatten();
    let shares = folders.filter_map(|folder| {
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
        if read("type")?.trim() == "Instruction" {
            return None;
        }
        Some(size(read("size")?.trim())? / cores(read("shared_cpu_list")?.trim())?)
    });
    // A core's own second level may be larger than its share of the third.
    shares.max()
}

/// `512K`, `32M`.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let unit = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// How many cores a list such as `0-3,8-11` names.
fn cores(list: &str) -> Option<u64> {
    let ranges = list.split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        Some(last.checked_sub(first)? + 1)
    });
    let cores: Option<u64> = ranges.sum();
    cores.filter(|&cores| cores > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path, index: u32, kind: &str, size: &str, shared: &str) {
        let folder = folder.join(format!("index{index}"));
        fs::create_dir(&folder).unwrap();
        for (name, text) in [
            ("type", kind.to_owned()),
            ("size", size.to_owned()),
            ("shared_cpu_list", shared.to_owned()),
        ] {
            fs::write(folder.join(name), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn a_core_has_its_share_of_the_largest_cache() {
        let folder = tempfile::tempdir().unwrap();
        cache(folder.path(), 1, "Instruction", "64M", "0");
        cache(folder.path(), 2, "Unified", "1024K", "0,8");
        cache(folder.path(), 3, "Unified", "32M", "0-3,8-11");
        assert_eq!(share_in(folder.path()), Some(4 << 20));
        cache(folder.path(), 4, "Unified", "a lot", "0");
        assert_eq!(share_in(folder.path()), Some(4 << 20));
        assert_eq!(share_in(&folder.path().join("nowhere")), None);
    }

    #[test]
    fn lists_and_sizes_are_read() {
        assert_eq!(
            (cores("5"), cores("0-1"), cores("")),
            (Some(1), Some(2), None)
        );
        assert_eq!(
            (size("512K"), size("7"), size("1X")),
            (Some(512 << 10), Some(7), None)
        );
    }
}
