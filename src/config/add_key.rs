//! Adds a tenant's key to the text of a configuration or tenants file, and changes no other line of it.
//!
//! As for models, the text is looked at as lines, and what comes out is read again: a file that is written in a way this
//! does not understand is left alone.

use std::path::Path;

use super::tenants_file::parse;
use super::{Config, ConfigErrors};
use crate::tenants::{KeyHash, Roster, Tenant};

/// Why a key cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum AddKeyError {
    /// The file, or what it would become, is not valid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The file is written in a way that cannot be added to.
    #[error("cannot add to {} without changing more of it; add this to the `keys` of `tenants.{name}`:\n    - '{hash}'", path.display())]
    Form {
        /// The file.
        path: std::path::PathBuf,
        /// The tenant.
        name: String,
        /// Its new key's hash.
        hash: KeyHash,
    },
}

/// Which file tenants are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantsIn {
    /// The configuration.
    Configuration,
    /// `server.tenants_file`.
    OwnFile,
}

/// The text with the key; a tenant that is not there yet is added with the default terms.
///
/// # Errors
/// If the text is not valid before or after, or cannot be added to.
pub fn add_key(
    text: &str,
    path: &Path,
    kind: TenantsIn,
    name: &str,
    hash: KeyHash,
) -> Result<String, AddKeyError> {
    let read = |text: &str| match kind {
        TenantsIn::Configuration => Config::parse(text, path).map(|config| config.tenants),
        TenantsIn::OwnFile => parse(text, path),
    };
    let mut expected = if text.trim().is_empty() && kind == TenantsIn::OwnFile {
        Roster::default()
    } else {
        read(text)?
    };
    let known = expected
        .tenants
        .iter_mut()
        .find(|tenant| tenant.name == name);
    if let Some(tenant) = known {
        tenant.keys.push(hash);
    } else {
        let mut tenant = Tenant::new(name, expected.defaults.clone());
        tenant.keys.push(hash);
        expected.tenants.push(tenant);
    }
    let edited = insert(text, name, hash);
    match read(&edited) {
        Ok(after) if after == expected => Ok(edited),
        // A name that cannot be one is the reader's to explain.
        Err(errors) if errors.human().contains("usable name") => Err(errors.into()),
        _ => Err(AddKeyError::Form {
            path: path.to_owned(),
            name: name.to_owned(),
            hash,
        }),
    }
}

fn insert(text: &str, name: &str, hash: KeyHash) -> String {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    if let Some(last) = lines.last_mut()
        && !last.ends_with('\n')
    {
        last.push_str(newline);
    }
    let line = |indent: usize, text: &str| format!("{:indent$}{text}{newline}", "");
    let item = format!("- '{hash}'");
    let key = format!("'{name}':");
    let Some(section) = lines.iter().position(|line| is_key(line, "tenants")) else {
        if !lines.is_empty() {
            lines.push(newline.to_owned());
        }
        let block = [(0, "tenants:"), (2, &key), (4, "keys:"), (6, &item)];
        lines.extend(block.iter().map(|(indent, text)| line(*indent, text)));
        return lines.concat();
    };
    let entries = body(&lines, section);
    let indent = entries.first().map_or(2, |place| indent(&lines[*place]));
    let tenant = entries.iter().find(|place| {
        self::indent(&lines[**place]) == indent && is_key(lines[**place].trim_start(), name)
    });
    let Some(&tenant) = tenant else {
        let end = entries.last().map_or(section, |place| *place) + 1;
        let block = [
            (indent, key.as_str()),
            (indent + 2, "keys:"),
            (indent + 4, &item),
        ];
        let block: Vec<String> = block
            .iter()
            .map(|(indent, text)| line(*indent, text))
            .collect();
        lines.splice(end..end, block);
        return lines.concat();
    };
    let own = body(&lines, tenant);
    let step = own
        .first()
        .map_or(indent + 2, |place| self::indent(&lines[*place]));
    let keys = own.iter().find(|place| {
        self::indent(&lines[**place]) == step && is_key(lines[**place].trim_start(), "keys")
    });
    let Some(&keys) = keys else {
        let block = [line(step, "keys:"), line(step + 2, &item)];
        lines.splice(tenant + 1..=tenant, block);
        return lines.concat();
    };
    if let Some(end) = lines[keys].rfind(']') {
        let is_empty = lines[keys][..end].trim_end().ends_with('[');
        let comma = if is_empty { "" } else { ", " };
        lines[keys].insert_str(end, &format!("{comma}'{hash}'"));
        return lines.concat();
    }
    // Items may stand as far left as their key.
    let items: Vec<usize> = (keys + 1..lines.len())
        .take_while(|place| {
            let text = lines[*place].trim_start();
            is_blank(&lines[*place])
                || self::indent(&lines[*place]) >= step && text.starts_with("- ")
        })
        .filter(|place| !is_blank(&lines[*place]))
        .collect();
    let (end, depth) = items.last().map_or((keys, step + 2), |place| {
        (*place, self::indent(&lines[*place]))
    });
    lines.insert(end + 1, line(depth, &item));
    lines.concat()
}

/// The lines below a key that are part of its value and say something.
fn body(lines: &[String], key: usize) -> Vec<usize> {
    let least = indent(&lines[key]);
    (key + 1..lines.len())
        .take_while(|place| is_blank(&lines[*place]) || indent(&lines[*place]) > least)
        .filter(|place| !is_blank(&lines[*place]))
        .collect()
}

fn is_blank(line: &str) -> bool {
    let text = line.trim();
    text.is_empty() || text.starts_with('#')
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Whether a line begins with the key `name`, quoted or not.
fn is_key(line: &str, name: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}');
    [name.to_owned(), format!("'{name}'"), format!("\"{name}\"")]
        .iter()
        .any(|key| {
            line.strip_prefix(key.as_str())
                .and_then(|rest| rest.trim_start().strip_prefix(':'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\r', '\n']))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: &str, name: &str) -> Result<String, AddKeyError> {
        let hash = KeyHash::of(b"new");
        add_key(
            text,
            Path::new("tenants.yaml"),
            TenantsIn::OwnFile,
            name,
            hash,
        )
    }

    #[test]
    fn every_other_line_stays() {
        let old = KeyHash::of(b"old");
        let new = KeyHash::of(b"new");
        for text in [
            String::new(),
            "tenant_defaults:\n  weight: 2 # all\n".to_owned(),
            "# who\ntenants:\n  # ours\n  a:\n    weight: 2 # much\n\n  b:\n    weight: 1\n# end\n"
                .to_owned(),
            format!("tenants:\n    a:\n        keys: ['{old}'] # one\n        weight: 3\n"),
            format!(
                "tenants:\n  a:\n    keys:\n    - '{old}'\n    # about the weight\n    weight: 3\n"
            ),
            format!("tenants:\r\n  'a':\r\n    weight: 3\r\n    keys:\r\n      - '{old}'\r\n"),
            "tenants:\n  a:\n    keys: []\n  b:\n    weight: 3".to_owned(),
            "tenants:\n  b:\n    weight: 3\ntenant_defaults:\n  weight: 2\n".to_owned(),
        ] {
            let edited = added(&text, "a").unwrap_or_else(|error| panic!("{text}\n{error}"));
            let roster = parse(&edited, Path::new("x")).unwrap();
            let tenant = roster
                .tenants
                .iter()
                .find(|tenant| tenant.name == "a")
                .unwrap();
            assert_eq!(tenant.keys.last(), Some(&new), "{edited}");
            for line in text.lines().filter(|line| !line.contains("keys:")) {
                assert!(
                    edited.lines().any(|other| other == line),
                    "{line} of\n{edited}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let flow = "tenants: {a: {weight: 2}}\n";
        let error = added(flow, "a").unwrap_err().to_string();
        assert!(error.contains("add this"), "{error}");
        assert!(added("tenants:\n  a:\n    weigth: 1\n", "a").is_err());
        let bad = added("tenants:\n  a:\n    weight: 1\n", "b c")
            .unwrap_err()
            .to_string();
        assert!(
            bad.contains("usable name") || bad.contains("add this"),
            "{bad}"
        );
    }
}
