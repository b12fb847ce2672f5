//! Connection strings against a real server: TLS by libpq's rules, passwords, services, several hosts.

use std::{fs, os::unix::fs::PermissionsExt as _};

use pointsman_catalog::{PasswordSource, Server};
use pointsman_cutover::ports::DatabaseProvider as _;
use pointsman_lab::{
    authority::{Authority, self_signed_for_database},
    gate::Gate,
    ports::Port,
    postgres::start_stranger,
    scratch::Scratch,
};

use super::tls_server::{NAME, PASSWORD, TlsServer};

const VERIFIED: &str = "host=db.lab.example hostaddr=127.0.0.1 port={port} sslmode=verify-full sslrootcert={dir}/ca.pem";

fn verified(more: &str) -> String {
    format!("{VERIFIED} {more}")
}

fn refused(found: Result<impl std::fmt::Debug, String>, words: &str) {
    let error = found.unwrap_err();
    assert!(error.contains(words), "{words:?} is not in: {error}");
}

#[tokio::test]
async fn a_server_is_who_its_certificate_says_or_is_refused() {
    let server = TlsServer::start().await;
    let session = server.session(&verified("user=postgres")).await.unwrap();
    assert_eq!(
        (&session["ssl"], &session["version"]),
        (&true.into(), &"TLSv1.3".into())
    );
    let older = verified("user=postgres ssl_max_protocol_version=TLSv1.2");
    let older = server.session(&older).await.unwrap();
    assert_eq!(older["version"], "TLSv1.2");

    let other = verified("user=postgres").replace("host=db.lab.example", "host=other.example");
    refused(
        server.session(&other).await,
        "its certificate is for db.lab.example, not for \"other.example\"",
    );
    let by_ca = other.replace("verify-full", "verify-ca");
    assert_eq!(server.session(&by_ca).await.unwrap()["ssl"], true);

    let stranger = Authority::new("a stranger").unwrap();
    stranger.write(server.file("stranger.pem")).unwrap();
    let theirs = verified("user=postgres").replace("/ca.pem", "/stranger.pem");
    refused(
        server.session(&theirs).await,
        "signed by none of the authorities",
    );
    let required = "host=127.0.0.1 port={port} user=postgres sslmode=require";
    assert_eq!(
        server.session(required).await.unwrap()["ssl"],
        true,
        "unverified"
    );
    let required = format!("{required} sslrootcert={{dir}}/stranger.pem");
    refused(
        server.session(&required).await,
        "signed by none of the authorities",
    );
    refused(
        server
            .session("host=127.0.0.1 port={port} user=postgres sslmode=disable")
            .await,
        "no encryption",
    );
}

#[tokio::test]
async fn the_common_name_and_a_certificate_that_is_its_own_root_count_as_in_libpq() {
    let server = TlsServer::start().await;
    let common = server
        .authority
        .issue_for_database(server.folder(), NAME, &[]);
    server.present(&common.unwrap()).await;
    assert!(server.session(&verified("user=postgres")).await.is_ok());

    let own = self_signed_for_database(server.folder(), NAME).unwrap();
    server.present(&own).await;
    refused(
        server.session(&verified("user=postgres")).await,
        "TLS failed",
    );
    let itself = verified("user=postgres").replace("/ca.pem", &format!("/{NAME}.pem"));
    assert!(server.session(&itself).await.is_ok());
    let other = itself.replace("host=db.lab.example", "host=other.example");
    refused(
        server.session(&other).await,
        "its certificate is for db.lab.example",
    );
}

#[tokio::test]
async fn plain_text_is_for_prefer_alone() {
    let server = TlsServer::start().await;
    let at = "host=127.0.0.1 port={port}";
    let plain = server
        .session(&format!("{at} user=plain sslmode=prefer"))
        .await;
    assert_eq!(plain.unwrap()["ssl"], false, "its rules do not let TLS in");
    let preferred = server.session(&format!("{at} user=postgres")).await;
    assert_eq!(preferred.unwrap()["ssl"], true, "TLS where there is TLS");
    refused(
        server
            .session(&format!("{at} user=plain sslmode=require"))
            .await,
        "pg_hba.conf rejects connection",
    );

    let scratch = Scratch::new().unwrap();
    let without = start_stranger("plain", scratch.path(), &[]).await.unwrap();
    let at = format!(
        "host=127.0.0.1 port={} user=postgres",
        without.address().port()
    );
    assert_eq!(server.session(&at).await.unwrap()["ssl"], false);
    for mode in ["require", "verify-full sslrootcert={dir}/ca.pem"] {
        let found = server.session(&format!("{at} sslmode={mode}")).await;
        refused(found, "server does not support TLS");
    }
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_one_is_named() {
    let server = TlsServer::start().await;
    let issued = server
        .authority
        .issue_for_database(server.folder(), "certified", &[]);
    let issued = issued.unwrap();
    fs::set_permissions(&issued.key, fs::Permissions::from_mode(0o600)).unwrap();
    let named = "user=certified sslcert={dir}/certified.pem sslkey={dir}/certified.key";
    let session = server.session(&verified(named)).await.unwrap();
    assert_eq!(
        (&session["role"], &session["client"]),
        (&"certified".into(), &"/CN=certified".into())
    );
    refused(
        server.session(&verified("user=certified")).await,
        "certificate",
    );

    fs::set_permissions(&issued.key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(server.session(&verified(named)).await, "permissions 0644");
    let stranger = Authority::new("a stranger").unwrap();
    let theirs = stranger
        .issue_for_database(server.folder(), "certified", &[])
        .unwrap();
    fs::set_permissions(&theirs.key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(server.session(&verified(named)).await.is_err());
}

#[tokio::test]
async fn a_password_comes_from_its_file_its_variable_or_a_password_file() {
    let server = TlsServer::start().await;
    let mut declared = server.declared(&verified("user=scram channel_binding=require"));
    refused(server.session_of(&declared).await, "password missing");
    let file = server.private("pw", &format!("{PASSWORD}\n"));
    declared.control_password = Some(PasswordSource::File(file.into()));
    assert_eq!(server.session_of(&declared).await.unwrap()["role"], "scram");

    let escaped = PASSWORD.replace('\\', r"\\").replace(':', r"\:");
    server.private(
        "pgpass",
        &format!("# here\ndb.lab.example:*:*:scram:{escaped}\n*:*:*:*:wrong\n"),
    );
    let string = verified("user=scram passfile={dir}/pgpass");
    assert_eq!(server.session(&string).await.unwrap()["role"], "scram");
    let other = string
        .replace("host=db.lab.example", "host=127.0.0.1")
        .replace("verify-full", "verify-ca");
    refused(
        server.session(&other).await,
        "password authentication failed",
    );
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(server.file("pgpass"), mode).unwrap();
    refused(server.session(&string).await, "permissions 0640");

    // The test knows one variable for certain; its value becomes the password.
    let version = env!("CARGO_PKG_VERSION");
    server
        .run(&format!("ALTER ROLE scram PASSWORD '{version}'"))
        .await;
    declared.control_password = Some(PasswordSource::Environment("CARGO_PKG_VERSION".to_owned()));
    assert_eq!(server.session_of(&declared).await.unwrap()["role"], "scram");
    declared.control_password = Some(PasswordSource::Environment("PATH".to_owned()));
    refused(server.session_of(&declared).await, "[secrets]");
    declared.control_password = Some(PasswordSource::File("/etc/shadow".into()));
    refused(server.session_of(&declared).await, "[secrets]");
    let examined = server.provider().examine(&declared);
    refused(examined.map_err(|error| error.to_string()), "[secrets]");
}

#[tokio::test]
async fn channel_binding_is_demanded_of_the_server() {
    let server = TlsServer::start().await;
    let bound = verified("user=postgres channel_binding=require");
    refused(server.session(&bound).await, "channel binding");
}

#[tokio::test]
async fn a_service_a_uri_and_several_hosts_lead_to_the_same_server() {
    let server = TlsServer::start().await;
    let port = server.postgres.address().port();
    let service = format!(
        "[other]\nhost=nowhere\n[db]\nhost={NAME}\nhostaddr=127.0.0.1\nport={port}\nuser=postgres\n\
         sslmode=verify-full\nsslrootcert={}/ca.pem\n",
        server.folder().display()
    );
    fs::write(server.file("services"), service).unwrap();
    let named = "service=db servicefile={dir}/services";
    assert_eq!(server.session(named).await.unwrap()["ssl"], true);
    let other = server.session(&format!("{named} host=other.example")).await;
    refused(other, "not for \"other.example\"");
    refused(
        server.session(&named.replace("=db", "=red")).await,
        "no section [red]",
    );

    let uri = "postgresql://postgres@db.lab.example:{port}/postgres?hostaddr=127.0.0.1&\
               sslmode=verify-full&sslrootcert={dir}/ca.pem";
    assert_eq!(server.session(uri).await.unwrap()["ssl"], true);

    let closed = Port::reserve().unwrap();
    let several = format!(
        "host={NAME},{NAME} hostaddr=127.0.0.1,127.0.0.1 port={},{{port}} sslmode=verify-full \
         sslrootcert={{dir}}/ca.pem",
        closed.number()
    );
    assert!(
        server
            .session(&format!("{several} user=postgres"))
            .await
            .is_ok()
    );
    let backwards = several.replace(
        &format!("port={},{{port}}", closed.number()),
        "port={port},{port}",
    );
    let before = server.postgres.log().unwrap().matches("ghost").count();
    assert!(
        server
            .session(&format!("{backwards} user=ghost"))
            .await
            .is_err()
    );
    let after = server
        .postgres
        .log()
        .unwrap()
        .matches("role \"ghost\" does not exist")
        .count();
    assert_eq!(after - before, 1, "a host that answers decides");
}

/// Who stands between may be anybody.
#[tokio::test]
async fn a_password_goes_through_a_sidecar_to_a_verified_server_only() {
    let server = TlsServer::start().await;
    server
        .run("CREATE SCHEMA pointsman; CREATE TABLE pointsman.probe (id int PRIMARY KEY, value bigint)")
        .await;
    let sidecar = Gate::start(server.postgres.address()).await.unwrap();
    let file = server.private("pw", PASSWORD);
    let mut declared = server.probed_by(&verified("user=scram"));
    declared.probe_password = Some(PasswordSource::File(file.into()));
    let provider = server.provider();
    let write = async |declared: &_| {
        let written = provider.probes();
        let written = written.write_row(declared, "postgres", sidecar.address(), 7);
        written.await.map_err(|error| error.to_string())
    };
    write(&declared).await.unwrap();
    let probe = declared.probe.take().unwrap_or_default();
    declared.probe = Some(probe.replace("verify-full", "verify-ca"));
    refused(
        write(&declared).await,
        "its password is not sent through a sidecar",
    );

    // One that leads elsewhere is told nothing.
    let scratch = Scratch::new().unwrap();
    let elsewhere = start_stranger("elsewhere", scratch.path(), &[])
        .await
        .unwrap();
    let rogue = Gate::start(elsewhere.address()).await.unwrap();
    let lured = server.probed_by(&verified("user=postgres"));
    let lured = provider
        .probes()
        .write_row(&lured, "postgres", rogue.address(), 7);
    refused(
        lured.await.map_err(|error| error.to_string()),
        "server does not support TLS",
    );
}

/// What passes through a sidecar passes through whoever runs it.
#[tokio::test]
async fn s23_the_write_probe_never_logs_in_as_the_control_role() {
    let server = TlsServer::start().await;
    server
        .run("CREATE SCHEMA pointsman; CREATE TABLE pointsman.probe (id int PRIMARY KEY, value bigint)")
        .await;
    let sidecar = Gate::start(server.postgres.address()).await.unwrap();
    let provider = server.provider();
    let none = server.declared(&verified("user=postgres"));
    let same = Server {
        probe: Some(none.control.clone()),
        ..none.clone()
    };
    for (declared, words) in [
        (none, "no `probe` is declared for db"),
        (same, "`probe` of db names its control role postgres"),
    ] {
        let probes = provider.probes();
        refused(probes.probe_login(&declared, "postgres"), words);
        let written = probes.write_row(&declared, "postgres", sidecar.address(), 7);
        refused(written.await.map_err(|error| error.to_string()), words);
    }
    let rows = server.number("SELECT count(*) FROM pointsman.probe").await;
    assert_eq!(rows, 0);
}
