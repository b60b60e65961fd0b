//! The one way in: who calls, by which right, and in which place. The gate before the services and the page's socket
//! both go through it, and a call that it refuses is counted by its reason.

use crate::server::admission::auth::{Caller, Rights};
use crate::server::admission::in_flight::Place;
use crate::server::admission::rpc::{Kind, Rpc};
use crate::server::grpc::status::Failure;
use crate::server::state::ServerState;

/// A caller that was let in.
#[derive(Debug)]
pub(in crate::server) struct Admitted {
    /// Who it is.
    pub(in crate::server) caller: Caller,
    /// What it occupies until it has ended; `None` where the gate keeps it.
    pub(in crate::server) place: Option<Place>,
}

/// Why a call failed, and in whose words that is told.
#[derive(Debug)]
pub(in crate::server) struct Refused {
    /// Why.
    pub(in crate::server) failure: Failure,
    /// What the caller may read of it.
    pub(in crate::server) rights: Rights,
}

impl Refused {
    /// A failure in the words for these rights.
    pub(in crate::server) fn new(failure: Failure, rights: Rights) -> Self {
        Self { failure, rights }
    }
}

/// Whose refusals are counted where nobody is known.
const NOBODY: &str = "nobody";

/// Lets a call in: its token is looked at before a place is taken, so that a stranger occupies nothing.
///
/// # Errors
/// If the caller is nobody (`caller` says why), may not do this, or finds no place.
pub(in crate::server) fn admit(
    state: &ServerState,
    rpc: Rpc,
    caller: Result<Caller, Failure>,
) -> Result<Admitted, Refused> {
    let mut name = NOBODY.to_owned();
    let admitted = caller
        .map_err(|failure| Refused::new(failure, Rights::Use))
        .and_then(|caller| {
            let rights = caller.rights;
            caller.name().clone_into(&mut name);
            match place(state, rpc, &caller) {
                Ok(place) => Ok(Admitted {
                    caller,
                    place: Some(place),
                }),
                Err(failure) => Err(Refused::new(failure, rights)),
            }
        });
    if let Err(refused) = &admitted {
        state.metrics().rejected(refused.failure.reason());
        state.accounts().refused(&name, refused.failure.reason());
    }
    admitted
}

fn place(state: &ServerState, rpc: Rpc, caller: &Caller) -> Result<Place, Failure> {
    if rpc.operates && !caller.rights.may_operate() {
        return Err(Failure::Forbidden);
    }
    match rpc.kind {
        Kind::Look => state.enter_lookup(caller),
        Kind::Work => state.enter_call(caller),
        Kind::Stream => state.enter_stream(caller),
        Kind::Watch => state.enter_watch(caller),
    }
}
