//! `server.tokens_file`: the plain list of tokens, a line each. Their holders are tenants with the default terms, or with
//! those of the tenant of the same name.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::ConfigErrors;
use crate::server::admission::auth::Rights;
use crate::tenants::KeyHash;

/// Characters of a token at least: fewer can be guessed.
const TOKEN_CHARS_MIN: usize = 16;

/// Why callers cannot be told apart.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read.
    #[error("cannot read {} (server.tokens_file)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {problem}; a line is `user NAME TOKEN` or `admin NAME TOKEN`", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong. Never holds a token.
        problem: String,
    },
    /// The tenants file.
    #[error("{}", .0.human())]
    Tenants(#[from] ConfigErrors),
    /// A tenant of the tenants file, or one of its keys, is in the configuration already.
    #[error("{} (server.tenants_file): the tenant {name:?} or one of its keys is in the configuration already", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The tenant.
        name: String,
    },
    /// It has no token, so nobody could call.
    #[error("{} (server.tokens_file) has no token: nobody could call", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// One line.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) hash: KeyHash,
    pub(super) tenant: String,
    pub(super) rights: Rights,
}

/// The tokens of the file.
pub(super) fn load(path: &Path) -> Result<Vec<Token>, TokensError> {
    let text = std::fs::read_to_string(path).map_err(|source| TokensError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Vec<Token>, TokensError> {
    let mut tokens: Vec<Token> = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let token = parse_line(line, &tokens).map_err(|problem| TokensError::Line {
            path: path.to_owned(),
            line: index + 1,
            problem,
        })?;
        tokens.push(token);
    }
    if tokens.is_empty() {
        return Err(TokensError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(tokens)
}

fn parse_line(line: &str, earlier: &[Token]) -> Result<Token, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [role, tenant, secret] = words[..] else {
        return Err(format!("{} words instead of 3", words.len()));
    };
    let rights = match role {
        "user" => Rights::Use,
        "admin" => Rights::Admin,
        _ => return Err("the first word is neither `user` nor `admin`".to_owned()),
    };
    if secret.len() < TOKEN_CHARS_MIN || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "a token has at least {TOKEN_CHARS_MIN} printable ASCII characters"
        ));
    }
    if earlier
        .iter()
        .any(|token| token.hash == KeyHash::of(secret.as_bytes()))
    {
        return Err("the token stands on an earlier line already".to_owned());
    }
    Ok(Token {
        hash: KeyHash::of(secret.as_bytes()),
        tenant: tenant.to_owned(),
        rights,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: &str =
        "# who may call\n\nuser studio-a 0123456789abcdef\nadmin ops fedcba9876543210\n";

    fn parse(text: &str) -> Result<Vec<Token>, String> {
        super::parse(text, Path::new("tokens")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert!(parse("\u{feff}user studio-a 0123456789abcdef\n").is_ok());
    }

    #[test]
    fn wrong_lines_are_named_without_their_tokens() {
        for (text, expected) in [
            ("user a\n", "tokens:1: 2 words instead of 3"),
            (
                "\nboss a 0123456789abcdef",
                "tokens:2: the first word is neither",
            ),
            ("user a short-secret", "tokens:1: a token has at least 16"),
            (
                "user a 0123456789abcdef\nadmin b 0123456789abcdef",
                "tokens:2: the token stands",
            ),
            ("# nothing\n", "has no token"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
        assert!(!format!("{:?}", parse(TOKENS)).contains("0123456789"));
    }
}
