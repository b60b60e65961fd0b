//! Names with stars.

/// A name in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern as written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether `name` is one of those meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        // There is always a first part.
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            match rest.find(part) {
                Some(place) => rest = &rest[place + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, yes, no) in [
            ("*", vec!["", "ann"], vec![]),
            ("ann", vec!["ann"], vec!["anna", "an", ""]),
            (
                "news-*",
                vec!["news-", "news-1"],
                vec!["news", "old-news-1"],
            ),
            ("*-hd", vec!["a-hd", "-hd"], vec!["a-hd2"]),
            (
                "a*b*c",
                vec!["abc", "a1b2c", "abbc"],
                vec!["ac", "acb", "abcd"],
            ),
            ("a*a", vec!["aa", "aba"], vec!["a"]),
        ] {
            let matched = Pattern::new(pattern);
            for name in yes {
                assert!(matched.matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!matched.matches(name), "{pattern} {name}");
            }
        }
    }
}
