//! `tenants` and `tenant_defaults`: who may call, and what each may do.

use std::time::SystemTime;

use ipnet::IpNet;

use super::super::raw::{Node, Place, Value, shorten};
use super::super::reader::{Report, Section, join};
use super::count;
use crate::tenants::{Class, KeyHash, Pattern, Role, Roster, Tenant, Terms, parse_time};

/// Characters of a tenant's name at most: it is a label of the metrics.
const NAME_CHARS_MAX: usize = 64;
/// Tenants at most: each has lines in the metrics.
const TENANTS_MAX: usize = 1000;

/// Reads both sections.
pub(in crate::config) fn roster(
    (defaults, defaults_place): (Option<&Node>, Place),
    (tenants, tenants_place): (Option<&Node>, Place),
    report: &mut Report,
) -> Roster {
    let name = "tenant_defaults";
    let mut s = Section::open(defaults, name, name.to_owned(), defaults_place, report);
    let defaults = terms(&mut s, &Terms::default());
    s.finish();

    // Read even where there is no entry, so that a tenant's keys are known for the documentation and for hints.
    let mut known = Report::default();
    let empty = Node {
        value: Value::Null,
        place: tenants_place,
    };
    let pattern = "tenants.<name>";
    tenant(
        Section::open(
            Some(&empty),
            pattern,
            String::new(),
            tenants_place,
            &mut known,
        ),
        "",
        &defaults,
    );
    report.keys.extend(known.keys);
    let section = Section::open(
        tenants,
        "tenants",
        "tenants".to_owned(),
        tenants_place,
        report,
    );
    let (entries, report) = section.into_entries();
    let mut roster = Roster {
        defaults,
        tenants: Vec::new(),
    };
    for (index, (key, node)) in entries.into_iter().enumerate() {
        let path = join("tenants", &key.name);
        let problem = if index == TENANTS_MAX {
            Some(format!("more than {TENANTS_MAX} tenants"))
        } else {
            bad_name(&key.name).map(|reason| format!("not a usable name: {reason}"))
        };
        if let Some(problem) = problem {
            report.add(key.place, &path, shorten(&key.name), problem, None);
            if index == TENANTS_MAX {
                break;
            }
        }
        let section = Section::open(Some(node), pattern, path.clone(), key.place, report);
        let tenant = tenant(section, &key.name, &roster.defaults);
        let taken = |hash: &KeyHash| roster.tenants.iter().any(|other| other.keys.contains(hash));
        if tenant.keys.iter().any(taken) {
            let message = "one of its keys is another tenant's already".to_owned();
            report.add(key.place, &path, String::new(), message, None);
        }
        roster.tenants.push(tenant);
    }
    roster
}

fn bad_name(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > NAME_CHARS_MAX {
        return Some("it has 1 to 64 characters");
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    (!name.chars().all(legal)).then_some("it has letters, digits, '.', '_', '-' and '@' only")
}

fn tenant(mut s: Section<'_, '_>, name: &str, defaults: &Terms) -> Tenant {
    let mut keys: Vec<KeyHash> = Vec::new();
    for (text, node) in texts(
        &mut s,
        "keys",
        "none: nobody can call as this tenant",
        "hashes of its keys, `sha256:…`; `lipsync tenants add-key NAME` makes one",
    )
    .unwrap_or_default()
    {
        match text.parse::<KeyHash>() {
            Ok(hash) if keys.contains(&hash) => {
                s.wrong("keys", node, "listed twice".to_owned(), None);
            }
            Ok(hash) => keys.push(hash),
            Err(message) => {
                let hint = "put hashes here, never keys: `lipsync tenants add-key NAME` makes both";
                s.wrong("keys", node, message.to_owned(), Some(hint.to_owned()));
            }
        }
    }
    let role = s.choice(
        "role",
        Role::User,
        "user: makes frames and looks; admin: loads, unloads and sees paths as well",
    );
    let expires = s
        .take(
            "expires",
            "date, or date and time in UTC",
            "never",
            "from when on its keys are refused: 2027-01-31 or 2027-01-31T12:00:00Z",
        )
        .and_then(|node| expiry(&mut s, node));
    let terms = terms(&mut s, defaults);
    s.finish();
    Tenant {
        name: name.to_owned(),
        keys,
        role,
        expires,
        terms,
    }
}

fn expiry(s: &mut Section<'_, '_>, node: &Node) -> Option<SystemTime> {
    let time = match &node.value {
        Value::Text(text) => parse_time(text),
        _ => None,
    };
    if time.is_none() {
        let message = "must be a date such as 2027-01-31, or 2027-01-31T12:00:00Z".to_owned();
        s.wrong("expires", node, message, None);
    }
    time
}

/// What may be said for all and for one.
fn terms(s: &mut Section<'_, '_>, defaults: &Terms) -> Terms {
    let models = texts(
        s,
        "models",
        "all",
        "models it may use and see, with * for any characters; others do not exist for it",
    )
    .map(|models| models.into_iter().map(|(model, _)| Pattern::new(model)));
    let whole = |number: Option<u64>, default: Option<usize>| count(number).or(default);
    let no_limit = "no limit of its own";
    Terms {
        models: models.map_or_else(|| defaults.models.clone(), Iterator::collect),
        max_requests: whole(
            s.optional_integer(
                "max_requests",
                no_limit,
                1..=65_536,
                "its calls in progress at once",
            ),
            defaults.max_requests,
        ),
        max_streams: whole(
            s.optional_integer(
                "max_streams",
                no_limit,
                1..=65_536,
                "its Talk streams at once",
            ),
            defaults.max_streams,
        ),
        frames_per_second: whole(
            s.optional_integer(
                "frames_per_second",
                no_limit,
                1..=1_000_000,
                "frames a second that it may ask for in the long run",
            ),
            defaults.frames_per_second,
        ),
        frames_burst: whole(
            s.optional_integer(
                "frames_burst",
                "frames of 10 s",
                25..=100_000_000,
                "frames that it may ask for at once after a pause",
            ),
            defaults.frames_burst,
        ),
        queue_frames: whole(
            s.optional_integer(
                "queue_frames",
                no_limit,
                25..=1_000_000,
                "its frames that may wait, per avatar",
            ),
            defaults.queue_frames,
        ),
        reserved_models: s
            .optional_integer(
                "reserved_models",
                "0",
                0..=10_000,
                "so many of its models stay in memory when others need room",
            )
            .map_or(defaults.reserved_models, |models| models as usize),
        weight: s
            .optional_integer(
                "weight",
                "1",
                1..=1000,
                "its share in relation to the others'",
            )
            .map_or(defaults.weight, |weight| weight as u32),
        class: s.choice_or(
            "class",
            Class::Live,
            defaults.class,
            "live: its frames go before those of every tenant that is batch",
        ),
    }
}

/// Networks such as 10.0.0.0/8; an address alone is a network of one.
pub(super) fn networks(
    s: &mut Section<'_, '_>,
    name: &'static str,
    meaning: &'static str,
) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (text, node) in texts(s, name, "none", meaning).unwrap_or_default() {
        let alone = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        if let Ok(network) = text.parse::<IpNet>().or_else(|_| alone()) {
            networks.push(network);
        } else {
            let message = "must be an address or a network such as 10.0.0.0/8".to_owned();
            s.wrong(name, node, message, None);
        }
    }
    networks
}

/// A list of texts; one may stand without brackets.
fn texts<'a>(
    s: &mut Section<'a, '_>,
    name: &'static str,
    otherwise: &str,
    meaning: &'static str,
) -> Option<Vec<(&'a str, &'a Node)>> {
    let node = s.take(name, "list of texts", otherwise, meaning)?;
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut texts = Vec::new();
    for item in items {
        match &item.value {
            Value::Text(text) if !text.is_empty() => texts.push((text.as_str(), item)),
            _ => {
                let hint = Some(format!("put it between quotes: '{}'", item.shown()));
                s.wrong(name, item, "must be a text".to_owned(), hint);
            }
        }
    }
    Some(texts)
}
