//! Files that are not YAML, not text, not there, or meant to hurt.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::Config;
use super::{OLD, parse, problem, problems, with};

#[test]
fn broken_yaml_says_where() {
    for (text, line) in [
        ("server:\n  port: [1, 2\n", 2..=3),
        ("server:\n\tport: 1\n", 2..=2),
        ("a: \"C:\\models\"\n", 1..=1),
        ("a: 'open\n", 1..=2),
        ("a: *nowhere\n", 1..=1),
        ("a: b: c\n", 1..=1),
        ("a: !secret b\n", 1..=1),
        ("? [a]\n: b\n", 1..=1),
    ] {
        let problem = problem(text);
        assert!(
            problem.message.starts_with("not valid YAML"),
            "{text:?}: {problem:?}"
        );
        assert!(line.contains(&problem.line), "{text:?}: {problem:?}");
        assert!(!problem.message.ends_with('.'), "{problem:?}");
    }
    let two = problem("a: 1\n---\nb: 2\n");
    assert_eq!(
        (two.line, &*two.message),
        (2, "the file holds more than one YAML document")
    );
    let escape = problem("a: \"C:\\models\"\n");
    assert!(escape.hint.unwrap().contains("single quotes"));
}

#[test]
fn anchors_and_merge_keys_share_settings() {
    let text = "\
x-person: &person {background_dir: b, crop_rects_path: r, fps: 30}
models:
  bob: {<<: *person, model_path: bob.onnx}
  jane: {<<: *person, model_path: jane.onnx, fps: 20}
";
    let config = parse(text).unwrap();
    assert_eq!((config.models[0].fps, config.models[1].fps), (30, 20));
}

#[test]
fn alias_bombs_and_deep_nesting_end_at_once() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{list}]").unwrap();
    }
    problem(&bomb);
    problem(&"[".repeat(100_000));
    problem(&"{a: ".repeat(100_000));
    problem(&"- ".repeat(100_000));
    problem(&format!("a: {}", "[1, ".repeat(200_000)));
    let mut deep = String::new();
    for level in 0..2000 {
        writeln!(deep, "{}a:", " ".repeat(level)).unwrap();
    }
    problem(&deep);
    let mut many = String::new();
    for number in 0..5000 {
        writeln!(many, "key{number}: 1").unwrap();
    }
    assert_eq!(problems(&many).len(), 100);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Config::load(&folder.path().join("none.yaml")).unwrap_err();
    assert!(missing.problems[0].message.starts_with("cannot be read"));
    assert!(
        missing.problems[0]
            .hint
            .as_deref()
            .unwrap()
            .contains("--config")
    );
    assert!(Config::load(folder.path()).is_err());
    let latin = folder.path().join("latin.yaml");
    std::fs::write(&latin, b"server:\n  # gr\xfc\xdfe\n").unwrap();
    let latin = Config::load(&latin).unwrap_err();
    assert_eq!((latin.problems[0].line, latin.problems[0].column), (2, 7));
    let huge = folder.path().join("huge.yaml");
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(5 << 20)
        .unwrap();
    assert!(
        Config::load(&huge).unwrap_err().problems[0]
            .message
            .contains("larger than 4 MB")
    );
    let marked = folder.path().join("bom.yaml");
    std::fs::write(&marked, format!("\u{feff}{}", with(""))).unwrap();
    assert!(Config::load(&marked).is_ok());
    std::fs::write(&marked, with("").replace('\n', "\r\n")).unwrap();
    assert!(Config::load(&marked).is_ok());
}

/// Bytes that make trouble in YAML, among ordinary ones.
fn yaml_like() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            prop::sample::select(vec![
                "server", "models", "bob", "fps", "port", ":", ": ", "\n", "\n  ", "\n    ", "- ",
                "[", "]", "{", "}", "&a ", "*a", "<<: ", "!!str ", "!x ", "|\n", ">\n", "'", "\"",
                "\\", "#", "%", "---\n", "...\n", "\t", "0", "1e999", ".nan", "~", "null",
                "\u{feff}", "\u{0}", "ü", "🙂",
            ])
            .prop_map(str::to_owned),
            any::<char>().prop_map(String::from),
        ],
        0..80,
    )
    .prop_map(|parts| parts.concat())
}

/// Whatever comes out, it can be rendered, and its places are in the text.
fn check(text: &str) -> Result<(), TestCaseError> {
    if let Err(errors) = parse(text) {
        prop_assert!(!errors.problems.is_empty());
        prop_assert!(!errors.human().is_empty());
        prop_assert_eq!(
            errors.github().lines().count(),
            errors.problems.len() + usize::from(errors.omitted > 0)
        );
        prop_assert!(!errors.json().to_string().is_empty());
        for problem in &errors.problems {
            prop_assert!(
                problem.line
                    <= text
                        .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
                        .count()
                        + 1,
                "{:?}",
                problem
            );
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_answered(text in yaml_like()) {
        check(&text)?;
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn a_damaged_file_is_answered(at in 0..OLD.len(), remove in 0..20_usize, insert in yaml_like()) {
        let end = (at + remove).min(OLD.len());
        check(&format!("{}{insert}{}", &OLD[..at], &OLD[end..]))?;
    }
}
