//! Who calls: tenants by their keys, strangers by their addresses.
//!
//! Without tenants and tokens everybody who reaches the port may call everything, as with the original server; only
//! callers on this machine are told paths. With them, every call of the services brings `authorization: Bearer KEY`, and
//! loading and unloading takes an admin's. Health checks and reflection stay open: load balancers have no keys.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use ipnet::IpNet;

use crate::config::{Config, load_tenants};
use crate::registry::Reservation;
use crate::server::admission::tokens::{self, TokensError};
use crate::server::grpc::status::Failure;
use crate::tenants::shares::Partner;
use crate::tenants::{Class, FrameRate, KeyHash, Role, Roster, Tenant};
use crate::workers::FlowRule;

/// Request metadata by which a trusted proxy tells its callers apart where there are no keys.
const TENANT_KEY: &str = "x-tenant";
/// Where a trusted proxy says whom it forwards.
const FORWARDED_KEY: &str = "x-forwarded-for";
/// Seconds of its rate that a tenant may ask for at once, unless its configuration says otherwise.
const BURST_SECONDS: usize = 10;
/// The name that callers without a key have in metrics and logs.
const ANYBODY: &str = "anybody";

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Make frames and look, but not at paths.
    Use,
    /// Everything but paths: everybody, where there are no keys.
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

/// A tenant that calls, and what it has left of its rate.
#[derive(Debug)]
pub(in crate::server) struct Member {
    tenant: Tenant,
    flow: u64,
    rate: Option<FrameRate>,
}

impl Member {
    fn new(tenant: Tenant) -> Self {
        let terms = &tenant.terms;
        let rate = terms.frames_per_second.map(|rate| {
            let burst = terms.frames_burst.unwrap_or(rate * BURST_SECONDS);
            FrameRate::new(rate as f64, burst as f64, Instant::now())
        });
        Self {
            flow: flow("tenant", tenant.name.as_bytes()),
            tenant,
            rate,
        }
    }
}

/// One caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What it may do.
    pub rights: Rights,
    /// Its flow: flows share places, queues and the networks, whatever each of them sends.
    pub flow: u64,
    member: Arc<Member>,
    /// The key it came with; `None` where there are none.
    key: Option<KeyHash>,
}

impl Caller {
    /// Nobody is known and nothing is allowed.
    pub(in crate::server) fn nobody() -> Self {
        Self {
            rights: Rights::Use,
            flow: 0,
            member: Arc::new(Member::new(Tenant::new(
                ANYBODY,
                crate::tenants::Terms::default(),
            ))),
            key: None,
        }
    }

    /// Who pays.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.member.tenant
    }

    /// Its name in logs and metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.member.tenant.name
    }

    /// Whether a model exists for it.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.member.tenant.may_use(model)
    }

    /// Takes frames of its rate.
    ///
    /// # Errors
    /// [`Failure::TooFast`] if it has asked for more than its rate.
    pub(in crate::server) fn take_frames(&self, frames: usize) -> Result<(), Failure> {
        let Some(rate) = &self.member.rate else {
            return Ok(());
        };
        rate.take(frames, Instant::now())
            .map_err(|retry_after| Failure::TooFast {
                limit: self.tenant().terms.frames_per_second.unwrap_or(0),
                retry_after,
            })
    }

    /// Takes frames that were made whether or not its rate had them.
    pub(in crate::server) fn charge_frames(&self, frames: usize) {
        if let Some(rate) = &self.member.rate {
            rate.charge(frames, Instant::now());
        }
    }
}

/// Tells callers apart.
#[derive(Debug)]
pub struct Auth {
    /// Empty: there are no keys, everybody may call.
    keys: HashMap<KeyHash, (Arc<Member>, Rights)>,
    members: Vec<Arc<Member>>,
    anybody: Arc<Member>,
    proxies: Vec<IpNet>,
    partners: Vec<Partner>,
}

impl Default for Auth {
    fn default() -> Self {
        Self::new(&Roster::default(), Vec::new(), Vec::new())
    }
}

impl Auth {
    /// The tenants of `config`, of its tenants file and of its tokens file; without any, everybody may call.
    ///
    /// # Errors
    /// If a file cannot be read or is wrong, or a key is there twice.
    pub fn load(config: &Config) -> Result<Self, TokensError> {
        let server = &config.server;
        let mut roster = config.tenants.clone();
        if let Some(path) = &server.tenants_file {
            let more = load_tenants(path)?;
            if roster.defaults == crate::tenants::Terms::default() {
                roster.defaults = more.defaults;
            }
            for tenant in more.tenants {
                let taken = |other: &Tenant| {
                    other.name == tenant.name
                        || other.keys.iter().any(|key| tenant.keys.contains(key))
                };
                if roster.tenants.iter().any(taken) {
                    return Err(TokensError::Twice {
                        path: path.clone(),
                        name: tenant.name,
                    });
                }
                roster.tenants.push(tenant);
            }
        }
        let tokens = match &server.tokens_file {
            Some(path) => tokens::load(path)?,
            None => Vec::new(),
        };
        Ok(Self::new(&roster, tokens, server.trusted_proxies.clone()))
    }

    fn new(roster: &Roster, tokens: Vec<tokens::Token>, proxies: Vec<IpNet>) -> Self {
        let mut members: Vec<Arc<Member>> = roster
            .tenants
            .iter()
            .map(|tenant| Arc::new(Member::new(tenant.clone())))
            .collect();
        let mut keys = HashMap::new();
        for member in &members {
            let rights = match member.tenant.role {
                Role::User => Rights::Use,
                Role::Admin => Rights::Admin,
            };
            let hashes = member.tenant.keys.iter();
            keys.extend(hashes.map(|hash| (*hash, (Arc::clone(member), rights))));
        }
        for token in tokens {
            let known = members
                .iter()
                .find(|member| member.tenant.name == token.tenant);
            let member = known.map(Arc::clone);
            let member = member.unwrap_or_else(|| {
                let terms = roster.defaults.clone();
                let member = Arc::new(Member::new(Tenant::new(&token.tenant, terms)));
                members.push(Arc::clone(&member));
                member
            });
            keys.insert(token.hash, (member, token.rights));
        }
        let partners = members.iter().map(|member| Partner {
            flow: member.flow,
            weight: member.tenant.terms.weight,
        });
        Self {
            keys,
            partners: partners.collect(),
            members,
            anybody: Arc::new(Member::new(Tenant::new(ANYBODY, roster.defaults.clone()))),
            proxies,
        }
    }

    /// Whether calls need a key.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.members.is_empty()
    }

    /// Those with a guaranteed part of the places.
    pub(in crate::server) fn partners(&self) -> &[Partner] {
        &self.partners
    }

    /// Which of these models stay in memory for their tenants.
    pub(in crate::server) fn reservations<'a>(
        &self,
        models: &(impl Iterator<Item = &'a str> + Clone),
    ) -> Vec<Reservation> {
        let members = self.members.iter();
        members
            .filter(|member| member.tenant.terms.reserved_models > 0)
            .map(|member| Reservation {
                models: models
                    .clone()
                    .filter(|model| member.tenant.may_use(model))
                    .map(Into::into)
                    .collect(),
                count: member.tenant.terms.reserved_models,
            })
            .collect()
    }

    /// What each tenant's frames are entitled to in the networks' queues.
    pub(in crate::server) fn flow_rules(&self) -> HashMap<u64, FlowRule> {
        let rule = |member: &Arc<Member>| {
            let terms = &member.tenant.terms;
            let rule = FlowRule {
                weight: terms.weight,
                is_urgent: terms.class == Class::Live,
                queue_frames: terms.queue_frames,
            };
            (member.flow, rule)
        };
        self.members.iter().map(rule).collect()
    }

    /// Who sent a request with these headers from this address.
    ///
    /// # Errors
    /// [`Failure::Unauthenticated`] if a key is needed and there is none, or a wrong one.
    pub fn caller(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Result<Caller, Failure> {
        if !self.is_on() {
            return Ok(self.stranger(headers, peer));
        }
        let header = headers.get(AUTHORIZATION).ok_or(Failure::Unauthenticated(
            "a token is needed: send metadata `authorization: Bearer TOKEN`",
        ))?;
        let token = bearer(header.as_bytes()).ok_or(Failure::Unauthenticated(
            "the `authorization` metadata is not `Bearer TOKEN`",
        ))?;
        self.holder(token)
    }

    /// Who calls over a connection whose first message may bring a key: `None` is somebody who has yet to say.
    ///
    /// # Errors
    /// [`Failure::Unauthenticated`] if the headers bring a wrong key.
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

    /// Who holds `token`; where there are no keys, use [`Auth::caller`].
    ///
    /// # Errors
    /// [`Failure::Unauthenticated`] if nobody does, or if its time is over.
    pub fn holder(&self, token: &[u8]) -> Result<Caller, Failure> {
        let hash = KeyHash::of(token);
        let (member, rights) = self
            .keys
            .get(&hash)
            .ok_or(Failure::Unauthenticated("the token is not known"))?;
        if member.tenant.has_expired(SystemTime::now()) {
            return Err(Failure::Unauthenticated("the token has expired"));
        }
        Ok(Caller {
            rights: *rights,
            flow: member.flow,
            member: Arc::clone(member),
            key: Some(hash),
        })
    }

    /// Whether `caller` would be let in today, with the rights that it came with.
    #[must_use]
    pub fn still_knows(&self, caller: &Caller) -> bool {
        let Some(hash) = caller.key else {
            return !self.is_on();
        };
        self.keys.get(&hash).is_some_and(|(member, rights)| {
            *rights == caller.rights && !member.tenant.has_expired(SystemTime::now())
        })
    }

    /// Who asks what everybody may ask, with or without a key: its address shares the places for it.
    pub(in crate::server) fn anyone(
        &self,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Caller {
        Caller {
            rights: Rights::Use,
            ..self.stranger(headers, peer)
        }
    }

    /// A caller without a key: known by its address, or by what a proxy says of it.
    fn stranger(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Caller {
        let peer = peer.map(|peer| peer.ip().to_canonical());
        let is_proxy = peer.is_some_and(|peer| self.is_trusted(peer));
        let address = match peer {
            Some(peer) if is_proxy => self.forwarded_for(headers).unwrap_or(peer),
            Some(peer) => peer,
            // A socket without addresses is no caller of this machine.
            None => IpAddr::from([0, 0, 0, 0]),
        };
        let rights = if address.is_loopback() {
            Rights::Admin
        } else {
            Rights::Operate
        };
        let flow = match headers.get(TENANT_KEY) {
            Some(tenant) if is_proxy => flow("proxied", tenant.as_bytes()),
            _ => flow("address", site(address)),
        };
        Caller {
            rights,
            flow,
            member: Arc::clone(&self.anybody),
            key: None,
        }
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.proxies
            .iter()
            .any(|proxies| proxies.contains(&address))
    }

    /// Whom the proxies forward: the last in their list that is not one of them. What stands before it, anybody may have
    /// written.
    fn forwarded_for(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let values = headers.get_all(FORWARDED_KEY).iter();
        let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        for text in texts.iter().rev().flat_map(|text| text.rsplit(',')) {
            let address = address(text.trim())?;
            if !self.is_trusted(address) {
                return Some(address);
            }
        }
        None
    }
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let alone = text.trim_start_matches('[').trim_end_matches(']').parse();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    let address: IpAddr = alone.or_else(|_| with_port()).ok()?;
    Some(address.to_canonical())
}

/// Whoever has one IPv6 address has all of its network.
fn site(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
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

    fn with_tokens() -> Auth {
        let token = |text: &str, tenant: &str, rights| tokens::Token {
            hash: KeyHash::of(text.as_bytes()),
            tenant: tenant.to_owned(),
            rights,
        };
        let tokens = vec![
            token("0123456789abcdef", "studio-a", Rights::Use),
            token("fedcba9876543210", "ops", Rights::Admin),
        ];
        Auth::new(&Roster::default(), tokens, Vec::new())
    }

    /// One that believes a proxy.
    fn behind_a_proxy() -> Auth {
        let proxies = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        Auth::new(&Roster::default(), Vec::new(), proxies)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
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
        let auth = with_tokens();
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
    fn strangers_are_their_addresses() {
        let flow = |auth: &Auth, pairs: &[(&'static str, &str)], peer: &str| {
            let caller = auth.caller(&headers(pairs), Some(peer.parse().unwrap()));
            caller.unwrap().flow
        };
        let auth = Auth::default();
        let plain = flow(&auth, &[], "10.0.0.1:5");
        // More connections and invented tenants are the same caller.
        assert_eq!(flow(&auth, &[], "10.0.0.1:6"), plain);
        assert_eq!(flow(&auth, &[("x-tenant", "a")], "10.0.0.1:7"), plain);
        assert_eq!(
            flow(&auth, &[("x-forwarded-for", "1.2.3.4")], "10.0.0.1:8"),
            plain
        );
        assert_ne!(flow(&auth, &[], "10.0.0.2:5"), plain);
        let v6 = flow(&auth, &[], "[2001:db8:0:1::5]:5");
        assert_eq!(flow(&auth, &[], "[2001:db8:0:1:9::6]:5"), v6);
        assert_ne!(flow(&auth, &[], "[2001:db8:0:2::5]:5"), v6);

        let proxied = behind_a_proxy();
        let seen = |pairs: &[(&'static str, &str)]| flow(&proxied, pairs, "10.0.0.1:5");
        let client = flow(&auth, &[], "1.2.3.4:9");
        assert_eq!(seen(&[("x-forwarded-for", "1.2.3.4")]), client);
        // What a client wrote before its proxy did is not believed.
        assert_eq!(
            seen(&[("x-forwarded-for", "6.6.6.6, 1.2.3.4:77, 10.1.1.1")]),
            client
        );
        assert_ne!(seen(&[("x-tenant", "a")]), seen(&[("x-tenant", "b")]));
        // And nobody else is a proxy.
        let other = flow(&proxied, &[("x-forwarded-for", "1.2.3.4")], "11.0.0.1:5");
        assert_eq!(other, flow(&auth, &[], "11.0.0.1:5"));
    }

    #[test]
    fn who_is_local_is_not_for_the_client_to_say() {
        let proxied = behind_a_proxy();
        let rights = |forwarded: Option<&str>, peer: &str| {
            let pairs: Vec<_> = forwarded
                .map(|text| ("x-forwarded-for", text))
                .into_iter()
                .collect();
            let caller = proxied.caller(&headers(&pairs), Some(peer.parse().unwrap()));
            caller.unwrap().rights
        };
        assert_eq!(rights(Some("1.2.3.4"), "[::1]:5"), Rights::Operate);
        assert_eq!(
            rights(Some("127.0.0.1, 1.2.3.4"), "[::1]:5"),
            Rights::Operate
        );
        assert_eq!(rights(Some("127.0.0.1"), "11.0.0.1:5"), Rights::Operate);
        assert_eq!(rights(None, "[::1]:5"), Rights::Admin);
    }

    #[test]
    fn tenants_have_terms_and_an_end() {
        let mut tenant = Tenant::new("a", crate::tenants::Terms::default());
        tenant.keys = vec![KeyHash::of(b"key of a")];
        tenant.terms.frames_per_second = Some(1);
        tenant.terms.frames_burst = Some(25);
        let roster = Roster {
            tenants: vec![tenant],
            ..Roster::default()
        };
        let auth = Auth::new(&roster, Vec::new(), Vec::new());
        let caller = auth.holder(b"key of a").unwrap();
        assert_eq!((caller.name(), caller.rights), ("a", Rights::Use));
        caller.take_frames(25).unwrap();
        assert!(matches!(
            caller.take_frames(25),
            Err(Failure::TooFast { .. })
        ));
        assert!(auth.still_knows(&caller));
        assert!(!Auth::default().still_knows(&caller) && !with_tokens().still_knows(&caller));
        let mut over = roster;
        over.tenants[0].expires = Some(SystemTime::UNIX_EPOCH);
        let auth = Auth::new(&over, Vec::new(), Vec::new());
        assert!(matches!(
            auth.holder(b"key of a"),
            Err(Failure::Unauthenticated(_))
        ));
        assert!(!auth.still_knows(&caller));
    }
}
