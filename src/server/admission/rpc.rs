//! The calls of the two services, by path.

/// What a call does to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Kind {
    /// Looks only: always answered, also when the server is full or ends.
    Look,
    /// Works: counted against `max_concurrent_requests`.
    Work,
    /// Stays open: counted against `max_streams`.
    Stream,
}

/// A call of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Rpc {
    /// Its name in logs and metrics.
    pub(in crate::server) name: &'static str,
    path: &'static str,
    pub(in crate::server) kind: Kind,
    /// Whether it changes what is in memory.
    pub(in crate::server) operates: bool,
}

const fn rpc(name: &'static str, path: &'static str, kind: Kind) -> Rpc {
    Rpc {
        name,
        path,
        kind,
        operates: false,
    }
}

const fn operation(name: &'static str, path: &'static str) -> Rpc {
    Rpc {
        operates: true,
        ..rpc(name, path, Kind::Work)
    }
}

/// All of them; a test holds them to the proto file.
pub(in crate::server) const RPCS: [Rpc; 8] = [
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
];

impl Rpc {
    /// A conversation; the page's WebSocket is one, too.
    pub(in crate::server) const TALK: Self = rpc("Talk", "/lipsync.LipSync/Talk", Kind::Stream);

    /// The call at `path`, if it is one of ours.
    pub(in crate::server) fn at(path: &str) -> Option<Self> {
        RPCS.into_iter().find(|rpc| rpc.path == path)
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
                    assert_eq!(Rpc::at(&path).map(|rpc| rpc.name), Some(method.name()));
                    count += 1;
                }
            }
        }
        assert_eq!(count, RPCS.len());
    }
}
