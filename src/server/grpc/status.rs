//! What went wrong with a call, and what its client is told: the one file that maps error kinds to text and codes.
//!
//! Clients without admin rights are told no paths and no engine internals; the log has them.

use std::time::Duration;

use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::engine::InferenceError;
use crate::pipeline::cpu::Panicked;
use crate::pipeline::render::RenderFault;
use crate::pipeline::{RenderError, SpeechError};
use crate::registry::RegistryError;
use crate::server::admission::auth::Rights;
use crate::server::reload::ReloadError;
use crate::shortage::Shortage;

/// The domain of `google.rpc.ErrorInfo`.
const ERROR_DOMAIN: &str = "lipsync";
/// When to try again where nothing better is known: a few frames later.
const RETRY_SOON: Duration = Duration::from_millis(200);

/// A field of a request that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as the proto file names it.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request cannot be right, whatever the server's state.
    #[error("invalid request: {}", list(.0))]
    Invalid(Vec<Violation>),
    /// The sequence of frames ends before the one asked for.
    #[error(
        "start_frame_idx is {start}, but the model's sequence is `clamp` and ends after {frames} frames"
    )]
    PastEnd {
        /// The frame asked for.
        start: u64,
        /// How many there are.
        frames: usize,
    },
    /// The model is not to be had.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A frame could not be made.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Speech could not be turned into windows.
    #[error(transparent)]
    Speech(#[from] SpeechError),
    /// A step of the request itself panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The model is unknown, and the configuration that may know it cannot be used.
    #[error("unknown model {model:?}, and the configuration cannot be read again: {error}")]
    Reload {
        /// The model asked for.
        model: String,
        /// Why.
        error: ReloadError,
    },
    /// No token, or a wrong one.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The caller's token is not an admin's.
    #[error("this call needs an admin token")]
    Forbidden,
    /// As many calls or streams as allowed are open.
    #[error("the server is busy: {limit} {what} in progress; retry, or raise server.{key}")]
    Overloaded {
        /// Requests or streams.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
        /// The key that says so.
        key: &'static str,
    },
    /// Nothing is served under this name.
    #[error(
        "there is no method {0}; `grpcurl -plaintext HOST:PORT list` names the services that there are"
    )]
    UnknownMethod(String),
    /// Other messages take all the memory there is for them.
    #[error(
        "the server has no memory for this message now; retry, or raise server.message_memory_mb"
    )]
    NoMessageMemory,
    /// The tenant has as many calls or streams open as it may have.
    #[error("this tenant has {limit} {what} in progress, which is its limit; retry")]
    TenantLimit {
        /// Requests or streams.
        what: &'static str,
        /// How many it may have.
        limit: usize,
    },
    /// The tenant asks for more frames than its rate.
    #[error("this tenant may ask for {limit} frames a second; retry in {} ms", retry_after.as_millis())]
    TooFast {
        /// Frames a second.
        limit: usize,
        /// When there are enough again.
        retry_after: Duration,
    },
    /// The answer is larger than a message may be.
    #[error(
        "the frames take {bytes} bytes and server.max_message_size_mb allows {}: ask for fewer at once, or for JPEG",
        limit
    )]
    AnswerTooLarge {
        /// Bytes of the answer.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The server takes nothing new.
    #[error("the server is shutting down")]
    Draining,
    /// The server ended before the call did.
    #[error("the server ended before the call was done")]
    Stopped,
    /// The call's time is over.
    #[error("the deadline passed before the call was done")]
    DeadlineExceeded,
}

/// What a failure comes to: code, a word for machines, details.
struct Verdict {
    code: Code,
    reason: &'static str,
    /// Whether it is the server's momentary state, and not the request or the model: never answered in-band.
    transient: bool,
    retry_after: Option<Duration>,
}

impl Verdict {
    const fn new(code: Code, reason: &'static str) -> Self {
        Self {
            code,
            reason,
            transient: false,
            retry_after: None,
        }
    }

    const fn transient(code: Code, reason: &'static str) -> Self {
        Self {
            transient: true,
            ..Self::new(code, reason)
        }
    }

    const fn retry_after(self, pause: Duration) -> Self {
        Self {
            retry_after: Some(pause),
            ..self
        }
    }
}

impl Failure {
    /// One bad field.
    pub fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation {
            field,
            problem: problem.into(),
        }])
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.verdict().code
    }

    /// A word for metrics and machines, such as `CAPACITY_FULL`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.verdict().reason
    }

    /// Whether the original's RPCs answer this inside their response: errors of the request and of the model are, the
    /// server's own state (auth, overload, drain, deadline) is always a status.
    #[must_use]
    pub fn is_in_band(&self) -> bool {
        !self.verdict().transient
    }

    /// What a caller with these rights is told.
    #[must_use]
    pub fn message(&self, rights: Rights) -> String {
        if rights == Rights::Admin {
            return match self {
                Self::Registry(error @ RegistryError::LoadFailed { error: cause, .. }) => {
                    format!("{error}: {}", cause.detail())
                }
                _ => self.to_string(),
            };
        }
        match self {
            Self::Render(RenderError { frame, source }) => match source {
                RenderFault::Background(error) if let Some(shortage) = Shortage::behind(error) => {
                    format!(
                        "frame {frame}: the server is out of {}; try again",
                        shortage.what()
                    )
                }
                RenderFault::Background(_) => format!(
                    "frame {frame}: its background is missing or broken, see the server's log"
                ),
                RenderFault::Inference(error) if names_a_path(error) => {
                    format!("frame {frame}: the network failed, see the server's log")
                }
                _ => self.to_string(),
            },
            Self::Speech(SpeechError::Inference(_)) => {
                "the audio encoder failed, see the server's log".to_owned()
            }
            Self::Reload { model, .. } => format!(
                "unknown model {model:?}, and the configuration cannot be read again: see the server's log"
            ),
            _ => self.to_string(),
        }
    }

    /// The failure as a gRPC status with rich details.
    #[must_use]
    pub fn status(&self, rights: Rights) -> Status {
        let verdict = self.verdict();
        let mut details = ErrorDetails::new();
        details.set_error_info(verdict.reason, ERROR_DOMAIN, []);
        if let Self::Invalid(violations) = self {
            let violations = violations
                .iter()
                .map(|v| FieldViolation::new(v.field, &v.problem));
            details.set_bad_request(violations.collect::<Vec<_>>());
        }
        let unknown = match self {
            Self::Registry(RegistryError::UnknownModel { id }) => Some(&**id),
            _ => None,
        };
        if let Some(id) = unknown {
            details.set_resource_info("model", id, "", "not configured");
        }
        if verdict.retry_after.is_some() {
            details.set_retry_info(verdict.retry_after);
        }
        Status::with_error_details(verdict.code, self.message(rights), details)
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Invalid(_) => Verdict::new(Code::InvalidArgument, "INVALID_REQUEST"),
            Self::PastEnd { .. } => Verdict::new(Code::OutOfRange, "PAST_THE_END"),
            Self::Registry(error) => registry_verdict(error),
            Self::Render(RenderError { source, .. }) => render_verdict(source),
            Self::Speech(SpeechError::NoEncoder { .. }) => {
                Verdict::new(Code::FailedPrecondition, "NO_AUDIO_ENCODER")
            }
            Self::Speech(_) => Verdict::new(Code::Internal, "INFERENCE_FAILED"),
            Self::Panicked(_) => Verdict::new(Code::Internal, "INTERNAL"),
            Self::Reload { .. } => Verdict::new(Code::FailedPrecondition, "BROKEN_CONFIGURATION"),
            Self::Unauthenticated(_) => {
                Verdict::transient(Code::Unauthenticated, "UNAUTHENTICATED")
            }
            Self::Forbidden => Verdict::transient(Code::PermissionDenied, "PERMISSION_DENIED"),
            Self::Overloaded { .. } => {
                Verdict::transient(Code::ResourceExhausted, "OVERLOADED").retry_after(RETRY_SOON)
            }
            Self::UnknownMethod(_) => Verdict::transient(Code::Unimplemented, "UNKNOWN_METHOD"),
            Self::NoMessageMemory => {
                Verdict::transient(Code::ResourceExhausted, "NO_MESSAGE_MEMORY")
                    .retry_after(RETRY_SOON)
            }
            Self::TenantLimit { .. } => {
                Verdict::transient(Code::ResourceExhausted, "TENANT_LIMIT").retry_after(RETRY_SOON)
            }
            Self::TooFast { retry_after, .. } => {
                Verdict::transient(Code::ResourceExhausted, "RATE_LIMIT").retry_after(*retry_after)
            }
            Self::AnswerTooLarge { .. } => Verdict::new(Code::OutOfRange, "ANSWER_TOO_LARGE"),
            Self::Draining => Verdict::transient(Code::Unavailable, "SHUTTING_DOWN"),
            Self::Stopped => Verdict::transient(Code::Unavailable, "STOPPED"),
            Self::DeadlineExceeded => {
                Verdict::transient(Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
            }
        }
    }
}

/// Bytes that are no message are the client's mistake. tonic says that the server failed.
pub(in crate::server) fn malformed_is_the_clients(
    response: http::Response<Body>,
) -> http::Response<Body> {
    let status = Status::from_header_map(response.headers());
    match status {
        Some(status)
            if status.code() == Code::Internal
                && status.message().starts_with("failed to decode Protobuf") =>
        {
            malformed(status.message()).into_http()
        }
        _ => response,
    }
}

/// The status of bytes that are no message.
pub(in crate::server) fn malformed(problem: &str) -> Status {
    let details = ErrorDetails::with_error_info("MALFORMED_MESSAGE", ERROR_DOMAIN, []);
    Status::with_error_details(Code::InvalidArgument, problem, details)
}

fn registry_verdict(error: &RegistryError) -> Verdict {
    match error {
        RegistryError::UnknownModel { .. } => Verdict::new(Code::NotFound, "UNKNOWN_MODEL"),
        RegistryError::CapacityFull { retry_after } => {
            Verdict::new(Code::ResourceExhausted, "CAPACITY_FULL").retry_after(*retry_after)
        }
        RegistryError::TooLarge { .. } => Verdict::new(Code::FailedPrecondition, "MODEL_TOO_LARGE"),
        RegistryError::LoadFailed {
            error, retry_after, ..
        } if error.shortage().is_some() => {
            Verdict::new(Code::ResourceExhausted, "OUT_OF_RESOURCES").retry_after(*retry_after)
        }
        RegistryError::LoadFailed { retry_after, .. } => {
            Verdict::new(Code::FailedPrecondition, "LOAD_FAILED").retry_after(*retry_after)
        }
        RegistryError::TooManyWaiting { retry_after, .. } => {
            Verdict::transient(Code::ResourceExhausted, "TOO_MANY_WAITING")
                .retry_after(*retry_after)
        }
        RegistryError::ShuttingDown => Verdict::transient(Code::Unavailable, "SHUTTING_DOWN"),
    }
}

fn render_verdict(fault: &RenderFault) -> Verdict {
    match fault {
        RenderFault::Background(error) if Shortage::behind(error).is_some() => {
            Verdict::transient(Code::ResourceExhausted, "OUT_OF_RESOURCES").retry_after(RETRY_SOON)
        }
        RenderFault::Background(_) => Verdict::new(Code::FailedPrecondition, "BROKEN_BACKGROUND"),
        RenderFault::Inference(error) => match error {
            InferenceError::QueueFull { .. } => {
                Verdict::transient(Code::ResourceExhausted, "QUEUE_FULL").retry_after(RETRY_SOON)
            }
            InferenceError::DeadlineExceeded => {
                Verdict::transient(Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
            }
            InferenceError::Cancelled => Verdict::transient(Code::Unavailable, "STOPPED"),
            InferenceError::Changed { .. } => {
                Verdict::new(Code::FailedPrecondition, "NETWORK_CHANGED")
            }
            _ => Verdict::new(Code::Internal, "INFERENCE_FAILED"),
        },
        RenderFault::NonFinite(_) => Verdict::new(Code::Internal, "NOT_FINITE"),
        RenderFault::Encode(_) => Verdict::new(Code::Internal, "ENCODING_FAILED"),
        RenderFault::Panicked(_) => Verdict::new(Code::Internal, "INTERNAL"),
    }
}

/// Whether the error's text holds a path or what an engine said.
fn names_a_path(error: &InferenceError) -> bool {
    !matches!(
        error,
        InferenceError::Length { .. }
            | InferenceError::Cancelled
            | InferenceError::DeadlineExceeded
            | InferenceError::QueueFull { .. }
    )
}

fn list(violations: &[Violation]) -> String {
    let violations = violations
        .iter()
        .map(|v| format!("{}: {}", v.field, v.problem));
    violations.collect::<Vec<_>>().join("; ")
}
