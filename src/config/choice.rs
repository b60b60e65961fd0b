//! Settings that take one of a few words.

use std::fmt::Debug;

/// A setting that takes one of a few words, as written in the file.
pub trait Choice: Copy + Debug + PartialEq + 'static {
    /// Every word with its meaning; the first spelling of a value is the one shown.
    const WORDS: &'static [(&'static str, Self)];

    /// The word of this value.
    fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(word, _)| word)
    }
}

/// Gives an enum of another module its words in the config file.
macro_rules! words {
    ($name:ty { $($variant:ident = $($word:literal)|+,)+ }) => {
        impl $crate::config::Choice for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$($(($word, Self::$variant),)+)+];
        }
    };
}

/// Declares an enum whose variants are words of the config file.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $($word:literal)|+,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        words! { $name { $($variant = $($word)|+,)+ } }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::config::Choice::word(*self))
            }
        }
    };
}
pub(super) use {choice, words};
