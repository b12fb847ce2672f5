use super::*;
use crate::PasswordSource;

const GOOD: &str = r#"[servers.blue]
endpoint = "db1.example.com:5432"
control = "host=10.0.0.1 port=5432 user=postgres"
control_password = { file = "/etc/pointsman/blue" }
replication = "host=10.0.0.1 user=replicator"
replication_password = { environment = "PG_BLUE" }
fence = "sql+hba"

[servers.green]
endpoint = "db2.example.com:5432"
control = "host=10.0.0.2 user=postgres dbname=postgres"

[databases.orders]
datname = "orders_v2"
writer = "blue"
readers = ["green", "blue"]
listen = { writer = 6432, reader = 6433 }

[databases.billing]
writer = "green"
listen = { writer = 6434, reader = 6435 }
"#;

#[test]
fn a_good_file_is_read_whole() {
    let declaration = Declaration::parse(GOOD, "dal.toml").unwrap();
    let server = |name: &str| ServerName::new(name).unwrap();
    let [blue, green] = &declaration.servers[..] else {
        panic!("{declaration:?}");
    };
    assert_eq!(blue.name, server("blue"));
    assert_eq!(blue.endpoint.to_string(), "db1.example.com:5432");
    assert_eq!(blue.control, "host=10.0.0.1 port=5432 user=postgres");
    assert!(blue.replication.is_some());
    assert_eq!(
        (&blue.control_password, &blue.replication_password),
        (
            &Some(PasswordSource::File("/etc/pointsman/blue".into())),
            &Some(PasswordSource::Environment("PG_BLUE".to_owned()))
        )
    );
    assert_eq!(blue.fence, FenceLevel::SqlHba);
    assert_eq!(green.replication, None);
    assert_eq!(green.fence, FenceLevel::Sql, "the weaker claim by default");
    let [orders, billing] = &declaration.databases[..] else {
        panic!("{declaration:?}");
    };
    assert_eq!(orders.datname, "orders_v2");
    assert_eq!(orders.writer, server("blue"));
    assert_eq!(orders.readers, [server("green"), server("blue")]);
    let ports = ListenPorts {
        writer: 6432,
        reader: 6433,
    };
    assert_eq!(orders.listen, ports);
    assert_eq!(billing.datname, "billing", "the name by default");
    assert_eq!(billing.readers, []);
}

#[test]
fn an_empty_file_declares_nothing() {
    assert_eq!(
        Declaration::parse("", "dal.toml"),
        Ok(Declaration::default())
    );
}

#[test]
fn every_fault_is_named_with_line_field_and_what_is_allowed() {
    let text = r#"
[servers.Blue]
endpoint = "db1.example.com"
control = "host=10.0.0.1 user=postgres dbname=orders"

[servers.green]
endpoint = "db2.example.com:5432"
control = ""
fence = "hba"
colour = "green"

[servers.grey]
endpoint = "DB2.example.com:5432"
replication = "user=replicator dbname=orders"

[databases.orders]
datname = ""
writer = "red"
readers = ["grey", 7, "grey"]
listen = { writer = 0, reader = "6433" }

[databases.billing]
writer = "grey"
readers = "grey"
listen = { writer = 6434, reader = 6434, admin = 1 }

[databases.audit]
listen = { writer = 6434, reader = 70000 }

[database.typo]
writer = "green"
"#;
    let error = Declaration::parse(text, "dal.toml").unwrap_err();
    let expected = r#"
dal.toml:2: servers.Blue: server name "Blue" is not allowed: 1 to 63 characters, a lower-case letter or digit first, then lower-case letters, digits, '-', '_' or '.'
dal.toml:3: servers.Blue.endpoint: endpoint "db1.example.com" is not HOST:PORT with a port from 1 to 65535
dal.toml:4: servers.Blue.control: another dbname= than postgres; allowed: dbname=postgres, or none: control sessions begin there
dal.toml:8: servers.green.control: empty; allowed: "host=HOST port=PORT user=ROLE …"
dal.toml:9: servers.green.fence: "hba" is not known; allowed: "sql+hba", "sql"
dal.toml:10: servers.green.colour: not known; allowed: endpoint, control, control_password, replication, replication_password, probe, probe_password, fence
dal.toml:12: servers.grey.control: missing; allowed: "host=HOST port=PORT user=ROLE …"
dal.toml:13: servers.grey.endpoint: db2.example.com:5432 is servers.green.endpoint too; allowed: each server its own
dal.toml:14: servers.grey.replication: no host=; allowed: "host=HOST port=PORT user=ROLE …"
dal.toml:14: servers.grey.replication: a dbname=; allowed: none, each database is replicated by itself
dal.toml:17: databases.orders.datname: a name of 0 bytes; allowed: 1 to 63
dal.toml:18: databases.orders.writer: "red" is not under [servers]; allowed: Blue, green, grey
dal.toml:19: databases.orders.readers[1]: a TOML integer; allowed: a string
dal.toml:19: databases.orders.readers[2]: grey is databases.orders.readers[0] too; allowed: each server once
dal.toml:20: databases.orders.listen.writer: 0 is no port; allowed: 1 to 65535
dal.toml:20: databases.orders.listen.reader: a TOML string; allowed: 1 to 65535
dal.toml:24: databases.billing.readers: a TOML string; allowed: a list of server names
dal.toml:25: databases.billing.listen.reader: 6434 is databases.billing.listen.writer too; allowed: each listener its own
dal.toml:25: databases.billing.listen.admin: not known; allowed: writer, reader
dal.toml:27: databases.audit.writer: missing; allowed: the name of a server
dal.toml:28: databases.audit.listen.writer: 6434 is databases.billing.listen.writer too; allowed: each listener its own
dal.toml:28: databases.audit.listen.reader: 70000 is no port; allowed: 1 to 65535
dal.toml:30: database: not known; allowed: servers, databases"#;
    assert_eq!(format!("\n{error}"), expected);
}

#[test]
fn what_must_be_a_table_is_said_with_its_form() {
    let text = "servers = 1\n[databases]\norders = \"x\"\n";
    let error = Declaration::parse(text, "dal.toml").unwrap_err();
    assert_eq!(
        error.to_string(),
        "dal.toml:1: servers: a TOML integer; allowed: [servers.NAME]\n\
         dal.toml:3: databases.orders: a TOML string; allowed: [databases.NAME]"
    );
}

#[test]
fn what_is_no_toml_is_named_with_its_lines() {
    let text = "[servers.blue]\nendpoint = \nfence = sql\nfence = \"sql\"\n";
    let error = Declaration::parse(text, "dal.toml").unwrap_err();
    assert_eq!(
        error.to_string(),
        "dal.toml:2: string values must be quoted, expected literal string\n\
         dal.toml:3: string values must be quoted, expected literal string\n\
         dal.toml:4: duplicate key"
    );
}

#[test]
fn ports_may_be_written_as_toml_writes_numbers() {
    let text = GOOD.replace("6432", "0x1920").replace("6434", "6_434");
    let declaration = Declaration::parse(&text, "dal.toml").unwrap();
    assert_eq!(declaration.databases[0].listen.writer, 6432);
    assert_eq!(declaration.databases[1].listen.writer, 6434);
}

#[test]
fn what_is_printed_of_a_server_holds_no_connection_string() {
    let declaration = Declaration::parse(GOOD, "dal.toml").unwrap();
    assert!(!format!("{declaration:?}").contains("user="));
}

#[test]
fn a_password_has_one_source_and_a_control_string_that_others_cannot_use_needs_another() {
    let server = |more: &str| {
        let text = format!("[servers.blue]\nendpoint = \"a:1\"\n{more}\n");
        let parsed = Declaration::parse(&text, "dal.toml");
        parsed.map_or_else(|error| error.to_string(), |_| String::new())
    };
    let control = "control = \"host=a user=b sslmode=verify-full sslrootcert=/ca.pem\"";
    assert_eq!(
        server(control),
        "dal.toml:3: servers.blue.control: sslrootcert= in `control` is about files of this machine, \
         and without `replication` the other server of a migration would connect by the same string; \
         allowed: with a `replication` string, whose files are on that server"
    );
    let both = format!("{control}\nreplication = \"host=a user=b sslrootcert=/its/ca.pem\"");
    assert_eq!(server(&both), "");
    let plain = "control = \"host=a user=b\"";
    for (fields, fault) in [
        ("{ file = \"/a\", environment = \"B\" }", "two sources"),
        ("{ }", "no source"),
        ("{ file = \"a\" }", "a relative path"),
        ("{ environment = \"A=B\" }", "no name of a variable"),
        ("\"hunter2\"", "a TOML string"),
    ] {
        let found = server(&format!("{plain}\ncontrol_password = {fields}"));
        assert!(found.contains(fault), "{fields}: {found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
    let alone = server(&format!(
        "{plain}\nreplication_password = {{ file = \"/a\" }}"
    ));
    assert!(
        alone.contains("replication_password: a password without"),
        "{alone}"
    );
    let alone = server(&format!("{plain}\nprobe_password = {{ file = \"/a\" }}"));
    assert!(
        alone.contains("probe_password: a password without"),
        "{alone}"
    );
}
