//! Connection strings with several hosts, on real servers.

use pointsman_catalog::Server;
use pointsman_cutover::{
    checks::{Finding, Moment, Outcome},
    ports::{DatabaseProvider as _, Inspector},
    providers::postgres::{PostgresProvider, SecretSources},
};
use pointsman_lab::ports::Port;

use super::{Setting, find, make_clean_databases, pair::Pair, replayed};

#[tokio::test]
async fn several_hosts_are_names_of_one_server_or_block() {
    let pair = Pair::start().await;
    make_clean_databases(&pair.source).await;
    let setting = Setting::of(&pair);
    replayed(&pair.source, &setting).await;
    let [source, target] = [&setting.source, &setting.target].map(|server| server.endpoint.port());
    let closed = Port::reserve().unwrap();

    let found = look(&setting, &[source, source]).await;
    assert_eq!(found.result, Outcome::Pass, "{found:#?}");
    assert!(found.message.contains("all 2 hosts"), "{found:#?}");

    let found = look(&setting, &[source, closed.number()]).await;
    assert_eq!(found.result, Outcome::Warn, "{found:#?}");
    let silent = format!("127.0.0.1 port {} in `control`", closed.number());
    assert!(found.message.contains(&silent), "{found:#?}");

    // The standby has the same system identifier.
    let found = look(&setting, &[source, target]).await;
    assert_eq!(found.result, Outcome::Block, "{found:#?}");
    for (port, role) in [(source, "primary"), (target, "standby")] {
        let phrase = format!("127.0.0.1 port {port} in `control` to a {role}");
        assert!(found.message.contains(&phrase), "{found:#?}");
    }

    // Those of `probe` count like those of `control`.
    let mut probing = setting.source.clone();
    probing.control = conninfo(&[source]);
    probing.probe = Some(conninfo(&[source, target]));
    let found = judged(&setting, &probing).await;
    assert_eq!(found.result, Outcome::Block, "{found:#?}");
    assert!(found.message.contains("in `probe`"), "{found:#?}");
}

async fn look(setting: &Setting, ports: &[u16]) -> Finding {
    let mut source = setting.source.clone();
    source.control = conninfo(ports);
    judged(setting, &source).await
}

async fn judged(setting: &Setting, source: &Server) -> Finding {
    let provider = PostgresProvider::new(SecretSources::unrestricted());
    let on_source: Box<dyn Inspector> = provider.inspect(source).await.unwrap();
    let on_target = setting.inspect(&setting.target, "postgres").await;
    let report = setting.run_on(Moment::Pre, &*on_source, &*on_target).await;
    find(&report, "C82", "source").clone()
}

fn conninfo(ports: &[u16]) -> String {
    let hosts = vec!["127.0.0.1"; ports.len()].join(",");
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    format!("host={hosts} port={} user=postgres", ports.join(","))
}
