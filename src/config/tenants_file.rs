//! `server.tenants_file`: the sections `tenants` and `tenant_defaults` in a file of their own, which changes more often
//! than the configuration and has other readers.

use std::path::Path;

use super::raw::Place;
use super::reader::{Report, Section};
use super::{ConfigErrors, keys, raw};
use crate::tenants::Roster;

/// Reads and validates the tenants file at `path`.
///
/// # Errors
/// Everything wrong with it, or why it could not be read.
pub fn load_tenants(path: &Path) -> Result<Roster, ConfigErrors> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(error) => Err(ConfigErrors::unreadable(path, &error)),
    }
}

/// The same for its text.
pub(crate) fn parse(text: &str, path: &Path) -> Result<Roster, ConfigErrors> {
    let failed = |problems, omitted| ConfigErrors {
        path: path.to_owned(),
        text: text.to_owned(),
        problems,
        omitted,
    };
    let root = raw::parse(text).map_err(|problem| failed(vec![problem], 0))?;
    let mut report = Report::default();
    let start = Place { line: 1, column: 1 };
    let mut top = Section::open(Some(&root), "", String::new(), start, &mut report);
    let [defaults, tenants] = ["tenant_defaults", "tenants"]
        .map(|name| (top.take(name, "section", "", ""), top.place(name)));
    top.finish();
    let roster = keys::roster(defaults, tenants, &mut report);
    report.finish();
    if report.problems.is_empty() {
        Ok(roster)
    } else {
        Err(failed(report.problems, report.omitted))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::tenants::{Class, KeyHash, Role};

    fn read(text: &str) -> Result<Roster, String> {
        parse(text, Path::new("tenants.yaml")).map_err(|errors| errors.human())
    }

    #[test]
    fn what_a_tenant_does_not_say_is_the_default() {
        let hash = KeyHash::of(b"key of a");
        let text = format!(
            "tenant_defaults:\n  max_streams: 4\n  models: 'demo-*'\n  class: batch\ntenants:\n  a:\n    keys: ['{hash}']\n    role: admin\n    models: [ann, 'b*']\n    weight: 3\n    class: live\n    expires: 1970-01-02\n  b:\n    max_streams: 1\n    max_requests: 2\n    frames_per_second: 50\n    frames_burst: 100\n    queue_frames: 30\n    reserved_models: 1\n",
        );
        let roster = read(&text).unwrap();
        let [a, b] = &roster.tenants[..] else {
            panic!("{roster:?}")
        };
        assert_eq!(
            (a.name.as_str(), a.role, a.keys[0]),
            ("a", Role::Admin, hash)
        );
        assert_eq!((a.terms.weight, a.terms.class), (3, Class::Live));
        assert_eq!(a.terms.max_streams, Some(4));
        let day = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
        assert_eq!(a.expires, Some(day));
        assert!(a.may_use("ann") && a.may_use("bob") && !a.may_use("demo-1"));
        assert!(b.may_use("demo-1") && !b.may_use("ann"));
        let terms = &b.terms;
        assert_eq!((terms.max_streams, terms.max_requests), (Some(1), Some(2)));
        assert_eq!(
            (terms.frames_per_second, terms.frames_burst),
            (Some(50), Some(100))
        );
        assert_eq!((terms.queue_frames, terms.reserved_models), (Some(30), 1));
        assert_eq!(
            (terms.weight, terms.class, b.role),
            (1, Class::Batch, Role::User)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let hash = KeyHash::of(b"shared");
        for (text, expected) in [
            (
                "tenants:\n  a:\n    keys: [secret-secret-secret]\n",
                "put hashes here",
            ),
            ("tenants:\n  a:\n    weigth: 2\n", "did you mean `weight`"),
            ("tenants:\n  'a b':\n    weight: 2\n", "not a usable name"),
            ("tenants:\n  a:\n    expires: soon\n", "2027-01-31"),
            ("tenants:\n  a:\n    class: slow\n", "live, batch"),
            ("tenant:\n  a: {}\n", "did you mean `tenants`"),
            (
                &format!("tenants:\n  a:\n    keys: '{hash}'\n  b:\n    keys: '{hash}'\n"),
                "another tenant's",
            ),
        ] {
            let errors = read(text).unwrap_err();
            assert!(errors.contains(expected), "{text}: {errors}");
        }
    }
}
