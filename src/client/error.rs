//! Why a call failed, and what to do about it.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt as _;

/// Why a server could not be asked, or what it answered instead.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error("{given:?} is not the address of a server: {reason}")]
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token cannot be sent.
    #[error("the token holds characters that cannot be sent: use visible ASCII only")]
    Token,
    /// Nobody is there, or nobody any more.
    #[error("no server answers at {server}: {reason}")]
    Unreachable {
        /// The address.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The connection broke in the middle of a call, or never was one.
    #[error("the connection to {server} failed: {reason}")]
    Broken {
        /// The address.
        server: String,
        /// What happened.
        reason: String,
    },
    /// No answer in time.
    #[error("the server at {server} did not answer in time")]
    Timeout {
        /// The address.
        server: String,
    },
    /// The server's answer is an error.
    #[error("{message}")]
    Refused {
        /// The address.
        server: String,
        /// Which kind of error.
        kind: Refusal,
        /// What the server said.
        message: String,
        /// When to try again, if it said so.
        retry_after: Option<Duration>,
    },
    /// An answer that no server of this protocol gives.
    #[error("the server at {server} answered what it should not: {reason}")]
    Protocol {
        /// The address.
        server: String,
        /// What was wrong.
        reason: &'static str,
    },
}

/// The kinds of refusal that call for different answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such model.
    NotFound,
    /// No token, or a wrong one.
    Unauthenticated,
    /// The token does not allow it.
    PermissionDenied,
    /// Full; later it may not be.
    Overloaded,
    /// Stopping, or not there yet.
    Unavailable,
    /// The server does not know the call.
    Unknown,
    /// Anything else; the message says it.
    Other,
}

impl ClientError {
    pub(super) fn address(given: &str, reason: String) -> Self {
        Self::Address {
            given: given.to_owned(),
            reason,
        }
    }

    /// What a call failed with: the server's own answer, or what went wrong on the way.
    pub(super) fn from_status(server: &str, status: &Status) -> Self {
        let server = server.to_owned();
        // A status that came over the wire has no source; one made on this side has.
        if let Some(source) = status.source() {
            let timed_out = chain(source).any(<dyn Error>::is::<TimeoutExpired>);
            let reason = chain(source).last().unwrap_or(source).to_string();
            return match status.code() {
                _ if timed_out => Self::Timeout { server },
                Code::Unavailable => Self::Unreachable { server, reason },
                _ => Self::Broken { server, reason },
            };
        }
        // What tonic says when the answer is HTTP's, with no word of gRPC in it.
        let told = status.message();
        if told.starts_with("grpc-status header missing")
            || told.contains("while receiving response with status:")
        {
            let reason = "it answers, but not as gRPC".to_owned();
            return Self::Broken { server, reason };
        }
        let kind = match status.code() {
            Code::NotFound => Refusal::NotFound,
            Code::Unauthenticated => Refusal::Unauthenticated,
            Code::PermissionDenied => Refusal::PermissionDenied,
            Code::ResourceExhausted => Refusal::Overloaded,
            Code::Unavailable => Refusal::Unavailable,
            Code::Unimplemented => Refusal::Unknown,
            Code::DeadlineExceeded => return Self::Timeout { server },
            _ => Refusal::Other,
        };
        let details = status.get_error_details();
        Self::Refused {
            server,
            kind,
            message: message(status),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }

    /// An error that came as an answer.
    pub(super) fn in_band(server: &str, error: &str) -> Self {
        Self::Refused {
            server: server.to_owned(),
            kind: Refusal::Other,
            message: if error.is_empty() {
                "the server failed and did not say why".to_owned()
            } else {
                error.to_owned()
            },
            retry_after: None,
        }
    }

    /// Whether the server may be back later: nobody answers, or it is stopping.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Broken { .. }
                | Self::Timeout { .. }
                | Self::Refused {
                    kind: Refusal::Unavailable,
                    ..
                }
        )
    }

    /// Whether the server does not know what was asked about.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                kind: Refusal::NotFound,
                ..
            }
        )
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreachable { .. } => {
                "is it running? start it with `lipsync serve`, or name another with --server"
            }
            Self::Broken { .. } => {
                "is this a lipsync server's gRPC port (`server.port`)? its page and metrics have another"
            }
            Self::Timeout { .. } => {
                "it may be overloaded, or another program may listen there: name another with --server"
            }
            Self::Refused {
                kind, retry_after, ..
            } => return kind.hint(*retry_after),
            Self::Address { .. } | Self::Token | Self::Protocol { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

impl Refusal {
    fn hint(self, retry_after: Option<Duration>) -> Option<String> {
        let again = |retry_after: Duration| {
            format!("try again in {:.1} s", retry_after.as_secs_f64().max(0.1))
        };
        match self {
            Self::NotFound => Some("`lipsync models list` shows what the server has".to_owned()),
            Self::Unauthenticated => {
                Some("give the server's token with --token or in LIPSYNC_TOKEN".to_owned())
            }
            Self::Unknown => Some("another program listens there, or an older server".to_owned()),
            Self::Overloaded | Self::Unavailable => retry_after.map(again),
            Self::PermissionDenied | Self::Other => None,
        }
    }
}

/// What the server said, with the fields it complains about if its text does not say them.
fn message(status: &Status) -> String {
    let said = match status.message() {
        "" => format!("the server answered: {}", status.code().description()),
        said => said.to_owned(),
    };
    let bad = status.get_details_bad_request();
    bad.iter()
        .flat_map(|bad| &bad.field_violations)
        .filter(|violation| !said.contains(&violation.description))
        .map(|violation| format!("\n  {}: {}", violation.field, violation.description))
        .fold(said.clone(), |said, violation| said + &violation)
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn refused(status: &Status) -> ClientError {
        ClientError::from_status("http://here", status)
    }

    #[test]
    fn fields_and_retry_are_told() {
        let details = ErrorDetails::with_bad_request_violation("batch_size", "must be 1 to 25");
        let status =
            Status::with_error_details(Code::InvalidArgument, "a field is out of range", details);
        assert_eq!(
            refused(&status).to_string(),
            "a field is out of range\n  batch_size: must be 1 to 25"
        );
        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        assert_eq!(
            refused(&status).hint().unwrap(),
            "try again in 1.5 s".to_owned()
        );
    }

    #[test]
    fn a_stopping_server_is_away_and_a_full_one_is_not() {
        assert!(refused(&Status::unavailable("stopping")).is_away());
        assert!(!refused(&Status::resource_exhausted("full")).is_away());
        assert!(!refused(&Status::not_found("no such model")).is_away());
    }

    #[test]
    fn an_empty_message_still_says_something() {
        let said = refused(&Status::permission_denied("")).to_string();
        assert!(said.len() > 25, "{said}");
    }
}
