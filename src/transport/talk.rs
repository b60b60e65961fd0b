//! The `Talk` call: audio in, frames out.

use std::sync::Arc;

use futures::stream::BoxStream;
use tonic::{Response, Status, Streaming};

use super::gate::Call;
use super::state::ServerState;
use crate::wire::{TalkRequest, TalkResponse};

/// What a stream sends.
pub(super) type TalkStream = BoxStream<'static, Result<TalkResponse, Status>>;

/// Serves one stream. Its place among `max_streams` is kept by the gate until the stream has ended.
#[expect(
    clippy::unused_async,
    reason = "the session to come awaits its start message"
)]
pub(super) async fn talk(
    _state: Arc<ServerState>,
    _call: Call,
    _requests: Streaming<TalkRequest>,
) -> Result<Response<TalkStream>, Status> {
    Err(Status::unimplemented("Talk is not served by this version"))
}
