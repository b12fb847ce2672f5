use super::*;

fn read(text: &str) -> Result<ConnectionSpec, Vec<String>> {
    ConnectionSpec::read(&Conninfo::parse(text).unwrap())
}

fn mode(text: &str) -> SslMode {
    read(text).unwrap().tls.mode
}

#[test]
fn sslmode_means_what_it_means_to_libpq() {
    assert_eq!(mode("host=a"), SslMode::Prefer);
    assert_eq!(mode("host=a sslmode=require"), SslMode::Require);
    assert_eq!(
        mode("host=a sslmode=require sslrootcert=/ca.pem"),
        SslMode::VerifyCa,
        "a root certificate makes it verify"
    );
    assert_eq!(mode("host=a sslrootcert=system"), SslMode::VerifyFull);
    assert_eq!(mode("host=a sslrootcert=amazon-rds"), SslMode::VerifyFull);
}

#[test]
fn what_would_verify_nothing_or_anybody_is_refused() {
    for text in [
        "host=a sslmode=verify-full",
        "host=a sslmode=verify-ca sslrootcert=system",
        "host=a sslmode=require sslrootcert=amazon-rds",
        "host=a sslmode=allow",
        "hostaddr=10.0.0.1 sslmode=verify-full sslrootcert=/ca.pem",
        "host=a channel_binding=require",
        "host=a sslnegotiation=direct",
        "host=a sslcert=/a.pem",
        "host=a sslrootcert=ca.pem",
        "host=a sslrootcert=/ca.pem",
        "host=a sslmode=disable sslrootcert=/ca.pem",
        "host=a ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
        "host=a gssencmode=require",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn several_hosts_keep_their_order_their_ports_and_their_addresses() {
    let host = |name: Option<&str>, address: Option<&str>, port| Host {
        name: name.map(str::to_owned),
        address: address.map(|address| address.parse().unwrap()),
        port,
    };
    assert_eq!(
        read("host=a,b port=1,").unwrap().hosts,
        [host(Some("a"), None, 1), host(Some("b"), None, 5432)]
    );
    assert_eq!(
        read("host=a,::1 hostaddr=10.0.0.1,::1 port=7")
            .unwrap()
            .hosts,
        [
            host(Some("a"), Some("10.0.0.1"), 7),
            host(Some("::1"), Some("::1"), 7)
        ]
    );
    let faults = read("host=a,b port=1,2,3").unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(read("host=a,b hostaddr=10.0.0.1").is_err());
    assert!(read("host=a,,b").is_err());
}

#[test]
fn no_fault_repeats_a_value() {
    let text = "host=secret,,x port=secret hostaddr=secret sslmode=secret sslrootcert=secret \
                keepalives=secret keepalives_idle=secret channel_binding=secret";
    let faults = read(text).unwrap_err().join("; ");
    assert!(!faults.contains("secret"), "{faults}");
}

#[test]
fn keepalives_are_the_operating_systems_unless_set() {
    let keepalive = read("host=a keepalives_idle=30 keepalives_count=3 tcp_user_timeout=1500")
        .unwrap()
        .keepalive;
    assert!(keepalive.enabled);
    assert_eq!(keepalive.idle, Some(Duration::from_secs(30)));
    assert_eq!((keepalive.interval, keepalive.count), (None, Some(3)));
    assert_eq!(keepalive.user_timeout, Some(Duration::from_millis(1500)));
    assert!(!read("host=a keepalives=0").unwrap().keepalive.enabled);
}
