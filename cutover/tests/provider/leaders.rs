//! Former leaders, lost sessions, and messages that show no secret.

use pointsman_catalog::{Conninfo, FenceLevel};
use pointsman_cutover::ports::{ControlId, ProviderError};

use crate::{
    pair::{Pair, provider, until},
    roles::{reverse_publisher, sessions},
    verbs::{close, moving, prepared},
};

/// Sessions are found by the role that logged in: a former leader's would be passed over.
#[tokio::test]
async fn a_control_role_that_acts_as_another_is_refused() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let server = &pair.source;
    let control = Conninfo::parse(&server.server().control).unwrap();
    let role = control.get("user").unwrap();
    let acts = format!("ALTER ROLE \"{role}\" SET role = 'app'");
    server.execute("postgres", &acts).await;
    let refused = server.try_attach(1).await.unwrap_err().to_string();
    let reason = format!("logs in as {role} and acts as app");
    assert!(refused.contains(&reason), "{refused}");
    let remedy = format!("ALTER ROLE \"{role}\" RESET role");
    assert!(refused.contains(&remedy), "{refused}");
}

#[tokio::test]
async fn a_newer_leader_ends_the_former_ones_sessions_and_refuses_to_be_followed() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (former, _target, _) = prepared(&pair).await;

    let newer = pair.source.attach(2).await;
    let lost = former.observe().await.unwrap_err();
    assert!(matches!(lost, ProviderError::Unreachable { .. }), "{lost}");
    let lost = reverse_publisher(&former)
        .sequences("orders")
        .await
        .unwrap_err();
    assert!(matches!(lost, ProviderError::Unreachable { .. }), "{lost}");

    let refused = pair.source.try_attach(1).await.unwrap_err();
    assert!(
        matches!(
            refused,
            ProviderError::Superseded {
                found: 2,
                own: 1,
                ..
            }
        ),
        "{refused}"
    );
    close(&newer, 2, &[]).await;
    drop(newer);
    let refused = pair.source.try_attach(1).await.unwrap_err();
    assert!(
        matches!(
            refused,
            ProviderError::Superseded {
                found: 2,
                own: 1,
                ..
            }
        ),
        "the record alone must stop an older engine: {refused}"
    );

    // A record that cannot be read may be a newer leader's.
    let damage = "UPDATE pointsman.fence SET epoch = -1";
    pair.source.execute("postgres", damage).await;
    let refused = pair.source.try_attach(3).await.unwrap_err().to_string();
    assert!(
        refused.contains("server blue: read the fence record failed")
            && refused.contains("in pointsman.fence is damaged: epoch is -1"),
        "{refused}"
    );
    let mend = "UPDATE pointsman.fence SET epoch = 2";
    pair.source.execute("postgres", mend).await;

    let next = pair.source.attach(3).await;
    let closed = sessions(&next).open_databases(&moving()).await.unwrap_err();
    assert!(
        closed.to_string().contains("not currently accepting"),
        "{closed}"
    );
    assert!(matches!(closed, ProviderError::Closed { .. }));
}

#[tokio::test]
async fn a_former_leader_keeps_no_session_that_nobody_would_end() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let former = pair.source.attach(1).await;
    let _newer = pair.source.attach(2).await;
    let late = sessions(&former).open_databases(&moving()).await;
    assert!(
        matches!(late, Err(ProviderError::Unreachable { .. })),
        "{late:?}"
    );
    let boss = pair.source.connect("boss", "postgres").await.unwrap();
    let left = "SELECT count(*) FROM pg_stat_activity \
                WHERE datname = 'orders' AND application_name LIKE 'pointsman%'";
    until("no session is left", async || boss.ask(left).await == "0").await;
}

#[tokio::test]
async fn errors_name_the_server_and_show_no_password() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let mut server = pair.source.server();
    let ghost = pair.source.server_as("ghost").control;
    let control = ControlId {
        migration: "m".to_owned(),
        epoch: 1,
    };
    let address = server.control.clone();
    for (changed, reason) in [
        (ghost, "ghost"),
        (
            "host=127.0.0.1 port=1 user=postgres".to_owned(),
            "cannot be reached",
        ),
        (address.clone() + " passfile=/nowhere", "/nowhere"),
        (address + " sslmode", "malformed"),
    ] {
        server.control = format!("password='it is secret' {changed}");
        let error = provider().attach(&server, &control).await.unwrap_err();
        let error = format!("{error} {error:?}");
        assert!(error.contains(reason) && error.contains("blue"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
