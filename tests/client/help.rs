//! What the commands say about themselves.

#[test]
fn help_is_what_the_files_say() {
    trycmd::TestCases::new().case("tests/client/help/*.trycmd");
}
