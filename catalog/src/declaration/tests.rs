use super::*;

const GOOD: &str = r#"
[servers.blue]
endpoint = "db1.example.com:5432"
control = "host=10.0.0.1 user=postgres"
fence = "sql+hba"

[servers.green]
endpoint = "db2.example.com:5432"
control = "host=10.0.0.2 user=postgres"

[databases.orders]
writer = "blue"
readers = ["green"]
listen = { writer = 6432, reader = 6433 }
"#;

#[test]
fn a_good_file_is_read_whole() {
    let declaration = Declaration::parse(GOOD, "dal.toml").unwrap();
    assert_eq!(declaration.servers.len(), 2);
    assert_eq!(declaration.servers[0].fence, FenceLevel::SqlHba);
    assert_eq!(declaration.databases[0].datname, "orders");
    assert_eq!(declaration.databases[0].listen.reader, 6433);
}

#[test]
fn every_fault_is_named_with_line_field_and_what_is_allowed() {
    let text = GOOD
        .replace("sql+hba", "hba")
        .replace("writer = \"blue\"", "writer = \"red\"\ncolour = 1")
        .replace("reader = 6433", "reader = 0");
    let error = Declaration::parse(&text, "dal.toml").unwrap_err();
    assert_eq!(
        error.to_string(),
        "dal.toml:5: servers.blue.fence: \"hba\" is not known; allowed: \"sql+hba\", \"sql\"\n\
         dal.toml:12: databases.orders.writer: \"red\" is not declared under [servers]; declared: \
         green\n\
         dal.toml:13: databases.orders.colour: unknown field; allowed here: datname, writer, \
         readers, listen\n\
         dal.toml:15: databases.orders.listen.reader: 0 is no port; allowed: 1 to 65535"
    );
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    let error = Declaration::parse("[servers.blue]\nendpoint = \n", "dal.toml").unwrap_err();
    assert!(error.to_string().starts_with("dal.toml:2: "), "{error}");
}

#[test]
fn one_port_or_endpoint_for_two_is_a_fault() {
    let text = GOOD
        .replace("reader = 6433", "reader = 6432")
        .replace("db2.", "db1.");
    let error = Declaration::parse(&text, "dal.toml").unwrap_err();
    assert!(error.to_string().contains("have one endpoint"), "{error}");
    assert!(error.to_string().contains("port 6432 is taken"), "{error}");
}
