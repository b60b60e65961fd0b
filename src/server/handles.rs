//! File handles: as many as the system gives, and never more connections than there are handles for.
//!
//! Systems give a process 1,024 unless it asks for more, for the sake of programs that use `select`. Two ports with 1,024
//! connections each need more than that, and a server that runs out of handles cannot open a healthy model's files.

use crate::config::Server;
use crate::server::{PROBE_CONNECTIONS, StartError};

/// Handles for all that is no connection: models that load, backgrounds that are read, the log, the runtime.
const RESERVE: u64 = 256;
/// More than this is not asked for: no configuration needs it.
const HANDLES_MAX: u64 = 1 << 20;
/// Fewer connections a port than this are no server.
const CONNECTIONS_MIN: u64 = 8;

/// Raises the limit of this process, and gives how many connections each port of `server` may have.
///
/// # Errors
/// If there are hardly any handles.
pub(super) fn connections(server: &Server) -> Result<usize, StartError> {
    let Some(handles) = raise() else {
        return Ok(server.max_connections);
    };
    let probes = server
        .metrics
        .as_ref()
        .map_or(0, |_| PROBE_CONNECTIONS as u64);
    let handles = handles.saturating_sub(probes);
    let ports = 1 + u64::from(server.http.is_some());
    let wanted = server.max_connections as u64;
    let possible = possible(handles, ports);
    if possible < CONNECTIONS_MIN.min(wanted) {
        let needed = RESERVE + ports * CONNECTIONS_MIN;
        return Err(StartError::Handles { handles, needed });
    }
    if possible < wanted {
        tracing::warn!(
            handles,
            wanted,
            connections = possible,
            "server.max_connections is more than there are file handles for: fewer connections are taken on each port; \
             raise the process's limit (ulimit -n, LimitNOFILE of systemd)"
        );
    }
    Ok(possible.min(wanted) as usize)
}

/// Connections that each of `ports` may have.
fn possible(handles: u64, ports: u64) -> u64 {
    handles.saturating_sub(RESERVE) / ports
}

/// Raises the soft limit of open files to the hard one, and gives it; `None` where there is no limit or no such thing.
#[cfg(target_os = "linux")]
fn raise() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current?;
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(HANDLES_MAX);
    if wanted <= now {
        return Some(now);
    }
    let raised = Rlimit {
        current: Some(wanted),
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            tracing::debug!(before = now, now = wanted, "limit of file handles raised");
            Some(wanted)
        }
        Err(error) => {
            tracing::warn!(%error, handles = now, "cannot raise the limit of file handles");
            Some(now)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn raise() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_handles_for_the_models() {
        assert_eq!(possible(1024, 2), 384);
        assert_eq!(possible(1024, 1), 768);
        assert_eq!(possible(256, 1), 0);
        assert_eq!(possible(3, 2), 0);
        assert!(possible(1 << 19, 3) > 65_536);
    }
}
