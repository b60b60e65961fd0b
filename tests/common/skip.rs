//! What a test does where something it needs is not installed.

/// Says that a test is skipped for want of `what`. Where `LIPSYNC_REQUIRE`, a list with commas, names it, the test
/// fails instead: there it is installed, and a skip would be a check that nobody notices is gone.
///
/// # Panics
/// If `what` is required.
#[allow(
    dead_code,
    clippy::print_stderr,
    reason = "not every test that includes the common parts needs programs; one that is skipped says so"
)]
pub(crate) fn skipped(what: &str, why: impl std::fmt::Display) {
    let required = std::env::var("LIPSYNC_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|one| one.trim() == what);
    assert!(!required, "{what} is required by LIPSYNC_REQUIRE: {why}");
    eprintln!("skipped for want of {what}: {why}");
}
