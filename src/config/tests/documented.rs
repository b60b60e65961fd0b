//! The documentation is what the code says.

use std::fmt::Write as _;
use std::path::Path;

use super::super::keys;
use super::super::reader::{KeyDoc, Report};

/// The tables of docs/configuration.md, as the code knows them.
fn documented(keys: &[KeyDoc]) -> String {
    let mut text = String::new();
    let mut section = "";
    for key in keys.iter().filter(|key| !key.section.is_empty()) {
        if key.section != section {
            section = key.section;
            writeln!(
                text,
                "
### `{section}`
"
            )
            .unwrap();
            text += "| key | value | default | meaning |
|---|---|---|---|
";
        }
        let KeyDoc {
            name,
            kind,
            default,
            meaning,
            ..
        } = key;
        writeln!(text, "| `{name}` | {kind} | {default} | {meaning} |").unwrap();
    }
    text
}

#[test]
fn the_documentation_lists_every_key_as_the_code_has_it() {
    let mut report = Report::default();
    keys::config(None, Path::new("config.yaml"), &mut report);
    let expected = documented(&report.keys);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = std::fs::read_to_string(path).unwrap().replace("\r\n", "\n");
    assert!(
        page.contains(&expected),
        "docs/configuration.md should hold these tables:\n{expected}"
    );
}
