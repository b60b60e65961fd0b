//! The calls that are served, by path.

/// What a call does to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Kind {
    /// Looks only: answered also when the server is full or ends, but no more than `max_concurrent_lookups` at once.
    Look,
    /// Works: counted against `max_concurrent_requests`.
    Work,
    /// Stays open and shows an avatar: counted against `max_streams`.
    Stream,
    /// Stays open and watches: counted against `max_watches`.
    Watch,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Rpc {
    /// Its name in logs and metrics.
    pub(in crate::server) name: &'static str,
    path: &'static str,
    pub(in crate::server) kind: Kind,
    /// Whether it changes what is in memory.
    pub(in crate::server) operates: bool,
    /// Whether nobody is asked for a token: load balancers have none.
    pub(in crate::server) is_open: bool,
}

const fn rpc(name: &'static str, path: &'static str, kind: Kind) -> Rpc {
    Rpc {
        name,
        path,
        kind,
        operates: false,
        is_open: false,
    }
}

const fn operation(name: &'static str, path: &'static str) -> Rpc {
    Rpc {
        operates: true,
        ..rpc(name, path, Kind::Work)
    }
}

const fn open(name: &'static str, path: &'static str, kind: Kind) -> Rpc {
    Rpc {
        is_open: true,
        ..rpc(name, path, kind)
    }
}

/// What is at a path where nothing is: told so, and counted.
const UNKNOWN: Rpc = open("unknown", "", Kind::Look);

/// All of them; a test holds ours to the proto file.
const RPCS: [Rpc; 13] = [
    rpc(
        "InferBatchComposite",
        "/lipsync.MultiTenantLipSync/InferBatchComposite",
        Kind::Work,
    ),
    rpc(
        "ListModels",
        "/lipsync.MultiTenantLipSync/ListModels",
        Kind::Look,
    ),
    operation("LoadModel", "/lipsync.MultiTenantLipSync/LoadModel"),
    operation("UnloadModel", "/lipsync.MultiTenantLipSync/UnloadModel"),
    rpc(
        "GetModelStats",
        "/lipsync.MultiTenantLipSync/GetModelStats",
        Kind::Look,
    ),
    rpc("Health", "/lipsync.MultiTenantLipSync/Health", Kind::Look),
    Rpc::TALK,
    rpc(
        "GetServerInfo",
        "/lipsync.LipSync/GetServerInfo",
        Kind::Look,
    ),
    rpc("GetUsage", "/lipsync.LipSync/GetUsage", Kind::Look),
    open("health.Check", "/grpc.health.v1.Health/Check", Kind::Look),
    open("health.Watch", "/grpc.health.v1.Health/Watch", Kind::Watch),
    open(
        "reflection",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Kind::Watch,
    ),
    open(
        "reflection",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Kind::Watch,
    ),
];

impl Rpc {
    /// A conversation; the page's WebSocket is one, too.
    pub(in crate::server) const TALK: Self = rpc("Talk", "/lipsync.LipSync/Talk", Kind::Stream);

    /// The call at `path`.
    pub(in crate::server) fn at(path: &str) -> Self {
        RPCS.into_iter()
            .find(|rpc| rpc.path == path)
            .unwrap_or(UNKNOWN)
    }

    /// Whether nothing is served at its path.
    pub(in crate::server) fn is_unknown(self) -> bool {
        self.path.is_empty()
    }

    /// Whether its messages may be as large as the configuration allows: the tensors of a batch.
    pub(in crate::server) fn is_batch(self) -> bool {
        self.path == "/lipsync.MultiTenantLipSync/InferBatchComposite"
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_call_of_the_proto_file_is_known() {
        let files = prost_types::FileDescriptorSet::decode(crate::wire::DESCRIPTORS).unwrap();
        let mut count = 0;
        for file in files.file.iter().filter(|file| file.package() == "lipsync") {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/lipsync.{}/{}", service.name(), method.name());
                    assert_eq!(Rpc::at(&path).name, method.name());
                    count += 1;
                }
            }
        }
        let ours = RPCS.iter().filter(|rpc| rpc.path.starts_with("/lipsync."));
        assert_eq!(count, ours.count());
        assert!(Rpc::at("/lipsync.LipSync/Nothing").is_unknown());
    }
}
