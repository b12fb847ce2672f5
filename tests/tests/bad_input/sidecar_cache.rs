//! What keeps `sidecar cache` from keeping anything.

use std::{fs, net::UdpSocket, os::unix::net::UnixListener};

use anyhow::Result;
use pointsman_lab::scratch::Scratch;

use super::table::{Case, check_all};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_or_a_socket_that_is_not_the_caches_is_named_and_left_alone() -> Result<()> {
    let scratch = Scratch::new()?;
    let path = |name: &str| scratch.path().join(name);
    let (file, socket) = (path("kept"), path("cache.sock"));
    let cache = |what, file: &str, socket: &str| {
        let line = format!(
            "sidecar cache app-1 --xds 127.0.0.1:1 --file {} --socket unix:{}",
            path(file).display(),
            path(socket).display()
        );
        Case::new(what, &line, &[], 1)
    };
    fs::write(path("precious"), "[servers.blue]\n")?;
    fs::write(path("later"), "pointsman-sidecar-cache 3 00\n{}\n")?;
    let _taken = UnixListener::bind(path("taken.sock"))?;
    let cases = [
        cache("a file that is none of a cache", "precious", "cache.sock")
            .says("precious (--file) is not used")
            .says("is no cache of `pointsman sidecar cache`"),
        cache("a file of a later version", "later", "cache.sock")
            .says("format 3")
            .says("this version reads format 2"),
        cache(
            "a file where there is no folder",
            "nowhere/kept",
            "cache.sock",
        )
        .says("nowhere/kept.lock (--file)")
        .says("No such file or directory"),
        cache("a socket where there is a file", "kept", "precious")
            .says("precious (--socket) is there and is no socket"),
        cache("a socket at which somebody listens", "kept", "taken.sock")
            .says("somebody listens on")
            .says("needs a socket of its own"),
        cache(
            "a socket where there is no folder",
            "kept",
            "nowhere/a.sock",
        )
        .says("nowhere/a.sock (--socket)"),
    ];
    let nobody = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    check_all(nobody, cases).await?;
    assert_eq!(fs::read_to_string(path("precious"))?, "[servers.blue]\n");
    assert!(!file.exists() && !socket.exists());

    let line = format!(
        "sidecar cache app-1 --xds 127.0.0.1:1 --file {} --socket unix:{} --tls-cert {{}} --tls-key {{}} \
         --tls-ca {{}} --tls-server spiffe://example.org/cp",
        file.display(),
        socket.display()
    );
    let precious = path("precious");
    let no_certificate = Case::new(
        "a certificate that is none",
        &line,
        &[&precious, &precious, &precious],
        1,
    )
    .says("the sidecar's certificate")
    .says("holds no certificate in PEM form");
    check_all(nobody, [no_certificate]).await
}
