//! H.264 of avatars: what never changes is encoded once, and per frame only the mouth.

mod codec;
#[cfg(test)]
mod tests;
