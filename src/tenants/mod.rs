//! Tenants: who they are and what each may do. Plain data and rules, without sockets and clocks of their own.

mod key;

pub use key::KeyHash;
