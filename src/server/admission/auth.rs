//! Who calls: an optional list of bearer tokens, the caller's rights, and its share of the workers.
//!
//! Without `server.tokens_file` everybody who reaches the port may call everything, as with the original server; only
//! callers on this machine are told paths. With it, every call of the two services brings `authorization: Bearer
//! TOKEN`, and loading and unloading takes an admin's. Health checks and reflection stay open: load balancers have no
//! tokens.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::server::grpc::status::Failure;
use crate::tenants::KeyHash;

/// Request metadata that tells the tenants of one connection apart where there are no tokens.
pub(crate) const TENANT_KEY: &str = "x-tenant";

/// Characters of a token at least: fewer can be guessed.
const TOKEN_CHARS_MIN: usize = 16;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Make frames and look, but not at paths.
    Use,
    /// Everything but paths: everybody, where there are no tokens.
    Operate,
    /// Everything.
    Admin,
}

impl Rights {
    /// Whether models may be loaded and unloaded.
    #[must_use]
    pub fn may_operate(self) -> bool {
        self != Self::Use
    }
}

/// One caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What it may do.
    pub rights: Rights,
    /// Its flow in the workers' queues: tenants take turns, whatever each of them sends.
    pub flow: u64,
    /// The token it came with; `None` where there are no tokens.
    key: Option<KeyHash>,
}

impl Caller {
    /// Nobody is known and nothing is allowed.
    pub(in crate::server) fn nobody() -> Self {
        Self {
            rights: Rights::Use,
            flow: 0,
            key: None,
        }
    }
}

/// Why a tokens file cannot be used.
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
    /// It has no token, so nobody could call.
    #[error("{} (server.tokens_file) has no token: nobody could call", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Tells callers apart.
#[derive(Debug, Default)]
pub struct Auth {
    /// Empty: there are no tokens, everybody may call.
    tokens: Vec<Token>,
}

struct Token {
    hash: KeyHash,
    tenant: String,
    rights: Rights,
}

/// Secrets stay out of logs.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("tenant", &self.tenant)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

impl Auth {
    /// The tokens of `file`; without one, everybody may call.
    ///
    /// # Errors
    /// If the file cannot be read, a line is wrong, or no token is in it.
    pub fn load(file: Option<&Path>) -> Result<Self, TokensError> {
        let Some(path) = file else {
            return Ok(Self::default());
        };
        let text = std::fs::read_to_string(path).map_err(|source| TokensError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, TokensError> {
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
        Ok(Self { tokens })
    }

    /// Whether calls need a token.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Who sent a request with these headers from this address.
    ///
    /// # Errors
    /// [`Failure::Unauthenticated`] if a token is needed and there is none, or a wrong one.
    pub fn caller(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Result<Caller, Failure> {
        if !self.is_on() {
            let local = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
            return Ok(Caller {
                rights: if local {
                    Rights::Admin
                } else {
                    Rights::Operate
                },
                flow: match headers.get(TENANT_KEY) {
                    Some(tenant) => flow("tenant", tenant.as_bytes()),
                    None => flow("peer", peer),
                },
                key: None,
            });
        }
        let header = headers.get(AUTHORIZATION).ok_or(Failure::Unauthenticated(
            "a token is needed: send metadata `authorization: Bearer TOKEN`",
        ))?;
        let token = bearer(header.as_bytes()).ok_or(Failure::Unauthenticated(
            "the `authorization` metadata is not `Bearer TOKEN`",
        ))?;
        self.holder(token)
    }

    /// Who holds `token`; where there are no tokens, use [`Auth::caller`].
    ///
    /// # Errors
    /// [`Failure::Unauthenticated`] if it is none of the list.
    pub fn holder(&self, token: &[u8]) -> Result<Caller, Failure> {
        let hash = KeyHash::of(token);
        let token = self
            .find(hash)
            .ok_or(Failure::Unauthenticated("the token is not known"))?;
        Ok(Caller {
            rights: token.rights,
            flow: flow("tenant", token.tenant.as_bytes()),
            key: Some(hash),
        })
    }

    /// Who calls over a connection whose first message may bring a token: `None` is somebody who has yet to say.
    ///
    /// # Errors
    /// [`Failure::Unauthenticated`] if the headers bring a wrong token.
    pub fn caller_so_far(
        &self,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<Option<Caller>, Failure> {
        if self.is_on() && !headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        self.caller(headers, peer).map(Some)
    }

    /// Whether `caller` would be let in today, with the rights that it came with.
    #[must_use]
    pub fn still_knows(&self, caller: &Caller) -> bool {
        match caller.key {
            Some(hash) => self
                .find(hash)
                .is_some_and(|token| token.rights == caller.rights),
            None => !self.is_on(),
        }
    }

    /// The token with this hash.
    fn find(&self, hash: KeyHash) -> Option<&Token> {
        // Hashes are compared, so the time tells nothing of a token; that it takes no longer for some is courtesy.
        self.tokens.iter().fold(None, |found, token| {
            if token.hash == hash {
                Some(token)
            } else {
                found
            }
        })
    }
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

/// The token of `Bearer TOKEN`.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

fn flow(kind: &str, name: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    kind.hash(&mut hasher);
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: &str =
        "# who may call\n\nuser studio-a 0123456789abcdef\nadmin ops fedcba9876543210\n";

    fn parse(text: &str) -> Result<Auth, String> {
        Auth::parse(text, Path::new("tokens")).map_err(|error| error.to_string())
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert!(parse("\u{feff}user studio-a 0123456789abcdef\n").is_ok());
    }

    #[test]
    fn without_tokens_everybody_may_call_and_this_machine_sees_paths() {
        let auth = Auth::default();
        let rights = |peer: &str| {
            let peer = peer.parse().unwrap();
            auth.caller(&HeaderMap::new(), Some(peer)).unwrap().rights
        };
        assert_eq!(rights("127.0.0.1:5"), Rights::Admin);
        assert_eq!(rights("[::ffff:127.0.0.1]:5"), Rights::Admin);
        assert_eq!(rights("[::1]:5"), Rights::Admin);
        assert_eq!(rights("10.0.0.1:5"), Rights::Operate);
        assert!(Rights::Operate.may_operate() && !Rights::Use.may_operate());
    }

    #[test]
    fn tokens_give_rights_and_tenants_share_a_flow() {
        let auth = parse(TOKENS).unwrap();
        let caller = |value: &str| auth.caller(&headers(&[("authorization", value)]), None);
        let user = caller("Bearer 0123456789abcdef").unwrap();
        assert_eq!(user.rights, Rights::Use);
        assert_eq!(
            caller("bearer fedcba9876543210").unwrap().rights,
            Rights::Admin
        );
        assert_ne!(user.flow, caller("Bearer fedcba9876543210").unwrap().flow);
        for wrong in [
            "Bearer 0123456789abcdeX",
            "Bearer ",
            "Basic 0123456789abcdef",
            "x",
        ] {
            assert!(
                matches!(caller(wrong), Err(Failure::Unauthenticated(_))),
                "{wrong}"
            );
        }
        let nobody = auth.caller(&HeaderMap::new(), Some("127.0.0.1:5".parse().unwrap()));
        assert!(matches!(nobody, Err(Failure::Unauthenticated(_))));
    }

    #[test]
    fn peers_and_tenants_are_flows_of_their_own() {
        let auth = Auth::default();
        let flow = |pairs: &[(&'static str, &str)], peer: &str| {
            let caller = auth.caller(&headers(pairs), Some(peer.parse().unwrap()));
            caller.unwrap().flow
        };
        assert_eq!(flow(&[], "10.0.0.1:5"), flow(&[], "10.0.0.1:5"));
        assert_ne!(flow(&[], "10.0.0.1:5"), flow(&[], "10.0.0.1:6"));
        let tenant = [("x-tenant", "a")];
        assert_eq!(flow(&tenant, "10.0.0.1:5"), flow(&tenant, "10.0.0.1:6"));
        assert_ne!(
            flow(&tenant, "10.0.0.1:5"),
            flow(&[("x-tenant", "b")], "10.0.0.1:5")
        );
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
