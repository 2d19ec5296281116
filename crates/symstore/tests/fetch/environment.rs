//! Proxies and certificates, given or named by the environment.

use symstore::fetch::{FetchOptions, Outcome, Proxy, fetch};
use testkit::http::{Reply, Server};

use super::{file, foo, options, tree};

#[test]
fn a_proxy_is_used() {
    let server = Server::start(|_| Reply::File(file(), ""));
    let target = server.address();
    let proxy = Server::start(move |request| match request.method.as_str() {
        "CONNECT" => Reply::Tunnel(target),
        _ => Reply::Status(400),
    });
    let store = tempfile::tempdir().unwrap();
    let options = FetchOptions {
        proxy: Proxy::At(proxy.url()),
        servers: vec!["http://symbols.invalid".into()],
        ..options(&server, store.path())
    };
    let outcome = fetch(&[foo()], &options).unwrap().remove(0);
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert_eq!(proxy.log()[0].path, "symbols.invalid:80");
}

/// Not a test by itself: [`the_environment_names_proxy_and_certificates`] runs it in a process of its own, whose
/// environment it may set.
#[test]
fn child_process() {
    let Some(store) = std::env::var_os("MKDUMP_TEST_STORE") else { return };
    let options = FetchOptions { attempts: 1, ..FetchOptions::new("http://symbols.invalid", store) };
    match fetch(&[foo()], &options) {
        Ok(outcomes) => assert!(matches!(outcomes[0], Outcome::Fetched { .. }), "{outcomes:?}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_environment_names_proxy_and_certificates() {
    let server = Server::start(|_| Reply::File(file(), ""));
    let target = server.address();
    let proxy = Server::start(move |_| Reply::Tunnel(target));
    let check = |variables: &[(&str, &str)], fetched: bool, said: &str| {
        let store = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "environment::child_process"]).env_clear().env("MKDUMP_TEST_STORE", store.path());
        // Windows finds the libraries for sockets by it.
        child.envs(std::env::var_os("SystemRoot").map(|root| ("SystemRoot", root)));
        let run = child.envs(variables.iter().copied()).output().unwrap();
        let output = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.success(), fetched, "{variables:?}: {output}");
        assert!(output.contains(said), "{variables:?}: {output}");
        assert_eq!(tree(store.path()).len(), usize::from(fetched));
    };
    let url = proxy.url();
    check(&[("HTTP_PROXY", &url)], true, "1 passed");
    check(&[("ALL_PROXY", &url)], true, "1 passed");
    assert_eq!(proxy.log().len(), 2);
    check(&[("HTTP_PROXY", &url), ("NO_PROXY", "symbols.invalid")], false, "Unreachable");
    check(&[("HTTP_PROXY", &url), ("SSL_CERT_FILE", "/no/such/file.pem")], false, "SSL_CERT_FILE /no/such/file.pem");
    assert_eq!(proxy.log().len(), 2);
}
