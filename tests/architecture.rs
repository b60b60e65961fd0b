//! What docs/architecture.md promises about who knows what, held against the sources.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::fs;
use std::path::{Path, PathBuf};

/// A word of code, and the only places under `src/` (a file, or a folder with all in it) that may say it.
struct Home {
    word: &'static str,
    places: &'static [&'static str],
}

const HOMES: &[Home] = &[
    // The wire stops at the boundary.
    Home {
        word: "tonic::",
        places: &["wire/", "server/", "client"],
    },
    Home {
        word: "axum::",
        places: &["server/"],
    },
    // One file an engine.
    Home {
        word: "ort::",
        places: &["engine/onnxruntime.rs"],
    },
    Home {
        word: "rten::",
        places: &["engine/embedded.rs"],
    },
    // The terminal has one door.
    Home {
        word: "println!",
        places: &["cli/output.rs"],
    },
    Home {
        word: "print!",
        places: &["cli/output.rs"],
    },
    Home {
        word: "eprintln!",
        places: &["cli/output.rs"],
    },
    Home {
        word: "stdout()",
        places: &["cli/output.rs"],
    },
    Home {
        word: "comfy_table::",
        places: &["cli/"],
    },
    Home {
        word: "indicatif::",
        places: &["cli/"],
    },
    Home {
        word: "clap::",
        places: &["cli/"],
    },
    Home {
        word: "anyhow::",
        places: &["cli/"],
    },
];

/// Folders that are pure: no async runtime, no sockets, no engine, no configuration file.
const PURE: &[&str] = &["audio/", "frame/", "compositor/", "encoder/"];

/// What is absent from them.
const IMPURE: &[&str] = &[
    "tokio::",
    "futures::",
    "crate::server",
    "crate::registry",
    "crate::pipeline",
    "crate::cli",
];

/// The files that may switch `unsafe` on.
const UNSAFE: &[&str] = &[
    "engine/library.rs",
    "main.rs",
    "pipeline/memory.rs",
    "compositor/simd.rs",
];

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file under `src/` but tests, by its path there, with comments and inline test modules left out.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![source_root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(source_root()).unwrap();
                let name = name.to_str().unwrap().replace('\\', "/");
                let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
                if !is_test {
                    files.push((name, code(&fs::read_to_string(&path).unwrap())));
                }
            }
        }
    }
    assert!(files.len() > 50, "the sources were not found");
    files.sort();
    files
}

/// The text without comments and without what follows the first `#[cfg(test)]` of a module's end.
fn code(text: &str) -> String {
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let lines = text.lines().map(|line| match line.trim_start() {
        comment if comment.starts_with("//") => "",
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether `code` says `word` as a word of its own: `ort::` but not `report::`.
fn says(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

#[test]
fn words_stay_in_their_homes() {
    let mut strays = Vec::new();
    for (file, code) in sources() {
        for home in HOMES {
            let at_home = home.places.iter().any(|place| file.starts_with(place));
            if !at_home && says(&code, home.word) {
                strays.push(format!(
                    "{file} says {}: only {:?} may",
                    home.word, home.places
                ));
            }
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
}

#[test]
fn every_home_is_lived_in() {
    let sources = sources();
    for home in HOMES {
        for place in home.places {
            let mut files = sources.iter().filter(|(file, _)| file.starts_with(place));
            assert!(files.next().is_some(), "{place} does not exist");
        }
    }
}

#[test]
fn the_core_is_pure() {
    let mut strays = Vec::new();
    for (file, code) in sources() {
        if PURE.iter().any(|folder| file.starts_with(folder)) {
            let said = IMPURE.iter().filter(|word| says(&code, word));
            strays.extend(said.map(|word| format!("{file} says {word}")));
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
}

#[test]
fn unsafe_code_is_fenced() {
    let files: Vec<String> = sources()
        .into_iter()
        .filter(|(_, code)| code.contains("unsafe_code"))
        .map(|(file, _)| file)
        .collect();
    for file in &files {
        assert!(
            UNSAFE.contains(&file.as_str()),
            "{file} switches unsafe code on"
        );
    }
}

#[test]
fn words_are_told_apart() {
    assert!(says("use ort::x", "ort::"));
    assert!(!says("use report::x", "ort::"));
    assert_eq!(code("a\n  // b\nc").trim_end(), "a\n\nc");
}
