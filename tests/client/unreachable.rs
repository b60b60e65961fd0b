//! Nobody there, or somebody else.

use std::net::TcpListener;

use crate::common::{avatars, process::Server};
use crate::{lipsync, run, url};

/// An address nobody listens on.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn no_server_is_an_error_with_a_hint() {
    let nobody = nobody();
    for arguments in [
        &["models", "list"][..],
        &["models", "load", "sanders"],
        &["models", "unload", "sanders"],
        &["stats"],
        &["stats", "--watch"],
        &["bench"],
        &["infer", "--model", "sanders", "--batch", "1"],
    ] {
        let (stdout, stderr) = run(lipsync(arguments).args(["--server", &nobody]), 1);
        assert_eq!(stdout, "", "{arguments:?}");
        let expected = format!("error: no server answers at {nobody}: ");
        assert!(stderr.starts_with(&expected), "{arguments:?}: {stderr}");
        assert!(stderr.contains("hint: is it running? start it with `lipsync serve`"));
    }
}

#[test]
fn the_server_may_be_named_by_the_environment_or_the_configuration() {
    let nobody = nobody();
    let (_, stderr) = run(lipsync(&["stats"]).env("LIPSYNC_SERVER", &nobody), 1);
    assert!(stderr.contains(&nobody), "{stderr}");

    let folder = avatars::plain(&["sanders"]);
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let port = nobody.rsplit(':').next().unwrap();
    let text = text.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    std::fs::write(folder.config(), text).unwrap();
    let (_, stderr) = run(
        lipsync(&["stats"]).env("LIPSYNC_CONFIG", folder.config()),
        1,
    );
    assert!(stderr.contains(&nobody), "{stderr}");

    let (_, stderr) = run(&mut lipsync(&["stats", "--server", "https://avatars"]), 1);
    assert!(stderr.contains("plain text only"), "{stderr}");
}

#[test]
fn another_program_is_told_from_no_program() {
    let folder = avatars::plain(&["sanders"]);
    let server = Server::start(&folder);
    let page = format!("http://{}", server.http);
    let (_, stderr) = run(&mut lipsync(&["stats", "--server", &page]), 1);
    assert!(stderr.contains("gRPC port"), "{stderr}");
}

#[test]
fn a_server_with_tokens_wants_one() {
    let folder = avatars::with_server(&["sanders"], "tokens_file: tokens.txt");
    let (user, admin) = ("user-token-0123456789", "admin-token-0123456789");
    let tokens = format!("user alice {user}\nadmin bob {admin}\n");
    std::fs::write(folder.path().join("tokens.txt"), tokens).unwrap();
    let server = Server::start(&folder);
    let url = url(&server);

    let (_, stderr) = run(&mut lipsync(&["stats", "--server", &url]), 1);
    assert!(stderr.contains("hint: give the server's token"), "{stderr}");
    run(
        lipsync(&["stats", "--server", &url]).env("LIPSYNC_TOKEN", user),
        0,
    );
    let load = ["models", "load", "sanders", "--server", &url];
    let (_, stderr) = run(lipsync(&load).args(["--token", user]), 1);
    assert!(stderr.contains("admin"), "{stderr}");
    run(lipsync(&load).args(["--token", admin]), 0);
}
