use async_trait::async_trait;
use pointsman_cutover::ports::{Clock, SystemClock};
use pointsman_xds::{
    AccessLogKind, Lease, MetricFamily, MetricKind, MetricSample, TcpAccessLog, TelemetrySink as _,
};

use super::*;
use crate::publish::tests::{Running, TestCatalog};

/// Answers the same for every server.
#[derive(Debug)]
struct Says(Mutex<Result<Clients, String>>);

#[async_trait]
impl AskClients for Says {
    async fn clients(&self, _endpoint: SocketAddr) -> Result<Clients, String> {
        self.0.lock().unwrap().clone()
    }
}

fn blue() -> SocketAddr {
    ([10, 0, 0, 1], 5432).into()
}

fn socket(port: u16) -> SocketAddr {
    ([10, 0, 0, 9], port).into()
}

fn sees(sockets: &[SocketAddr]) -> Clients {
    Clients {
        sockets: sockets.iter().copied().collect(),
        hidden: 0,
        own: None,
    }
}

fn sessions(count: f64) -> Vec<MetricFamily> {
    let label = ("envoy.cluster_name".to_owned(), "writer/orders".to_owned());
    vec![MetricFamily {
        name: "cluster.upstream_cx_active".to_owned(),
        kind: MetricKind::Gauge,
        samples: vec![MetricSample {
            labels: vec![label],
            value: count,
            count: 1,
        }],
    }]
}

fn opened(port: u16) -> TcpAccessLog {
    TcpAccessLog {
        kind: AccessLogKind::UpstreamConnected,
        stream_id: port.to_string(),
        upstream_cluster: "writer.orders".to_owned(),
        upstream_address: Some(blue()),
        upstream_local_address: Some(socket(port)),
        downstream_address: None,
        received_bytes: 0,
        sent_bytes: 0,
        duration: None,
        attempts: 1,
        flags: Vec::new(),
        failure: String::new(),
    }
}

fn members(running: &Running, answer: Result<Clients, String>) -> (AbsentMembers, Arc<Says>) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let servers = Arc::new(Says(Mutex::new(answer)));
    let members = AbsentMembers {
        view: Arc::clone(&running.view),
        tracker: Arc::new(SessionTracker::new(clock, Arc::clone(&running.holds))),
        servers: Arc::clone(&servers) as _,
        released: Mutex::default(),
    };
    (members, servers)
}

fn lease() -> Lease {
    let hour = Duration::from_secs(3600);
    Lease {
        cohort: "web".into(),
        closed: hour,
        silent: hour,
        restored: hour,
    }
}

fn kept(members: &AbsentMembers) -> Vec<String> {
    let away = members.away();
    let kept = away.filter(|(_, _, lease)| lease.is_kept());
    kept.map(|(node, _, _)| node.to_string()).collect()
}

#[tokio::test]
async fn a_member_that_went_silent_with_sessions_is_kept_whatever_servers_say() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let (members, _) = members(&running, Ok(sees(&[])));
    let [with, without, never] = ["web/a@1", "web/a@2", "web/a@3"];
    for id in [with, without, never] {
        running.fleet.expect_silent(id.into(), lease());
    }
    members.tracker.metrics(&with.into(), sessions(2.0));
    members.tracker.metrics(&without.into(), sessions(0.0));
    members.keep();
    assert_eq!(kept(&members), [with]);
    members.ask(&mut BTreeMap::new()).await;
    assert_eq!(kept(&members), [with]);
}

/// One that is expected stands for one whose connection was closed: of both nobody knows how they ended.
#[tokio::test]
async fn a_member_that_went_with_sessions_is_kept_until_the_servers_have_none_of_them() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let there = socket(40_001);
    let seen = Clients {
        own: Some(there.ip()),
        ..sees(&[there])
    };
    let (members, servers) = members(&running, Ok(seen));
    let went = "web/a@1";
    running.fleet.expect(went.into(), lease());
    members.tracker.access_log(&went.into(), opened(40_001));
    members.tracker.metrics(&went.into(), sessions(1.0));
    members.keep();
    assert_eq!(kept(&members), [went]);
    let mut said = BTreeMap::new();
    members.ask(&mut said).await;
    assert_eq!(kept(&members), [went]);
    let reason = said.values().next().unwrap();
    assert!(
        reason.contains("its session from 10.0.0.9:40001"),
        "{reason}"
    );
    *servers.0.lock().unwrap() = Err("server blue cannot be reached".to_owned());
    members.ask(&mut said).await;
    assert_eq!(kept(&members), [went]);
    let gone = Clients {
        own: Some(there.ip()),
        ..sees(&[socket(40_002)])
    };
    *servers.0.lock().unwrap() = Ok(gone);
    members.ask(&mut said).await;
    assert_eq!(kept(&members), [""; 0]);
    members.keep();
    assert_eq!(kept(&members), [""; 0], "it is not asked for twice");
}

fn last(known: &[(SocketAddr, Option<SocketAddr>)], untold: u64) -> LastSessions {
    LastSessions {
        count: 1,
        untold,
        known: known.to_vec(),
    }
}

#[test]
fn what_is_not_shown_to_be_gone_may_be_there() {
    let from = Some(socket(1).ip());
    let known = [(blue(), Some(socket(40_001)))];
    let answers = |clients| Answers::from([(blue(), clients)]);
    let none = answers(Ok(sees(&[])));
    assert_eq!(still_there(&last(&known, 0), from, &none), None);
    let says = |last: LastSessions, from, answers: &Answers, words: &str| {
        let reason = still_there(&last, from, answers).unwrap();
        assert!(reason.contains(words), "{reason}");
    };
    says(last(&known, 3), from, &none, "has not told where 3");
    says(last(&[(blue(), None)], 0), from, &none, "its own end");
    says(last(&known, 0), from, &Answers::new(), "was not asked");
    let silent = answers(Err("server blue cannot be reached".to_owned()));
    says(last(&known, 0), from, &silent, "cannot be reached");
    let hidden = Clients {
        hidden: 2,
        ..sees(&[])
    };
    says(last(&known, 0), from, &answers(Ok(hidden)), "pg_monitor");
    // Behind address translation the server sees its sessions under another name.
    let translated = Some(IpAddr::from([192, 0, 2, 1]));
    says(last(&known, 0), translated, &none, "another address");
}
