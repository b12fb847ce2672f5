//! The rights, and how each alone is taken from the control role.

/// A right, and how it alone is taken from the control role.
pub(super) struct Taken {
    pub(super) right: &'static str,
    /// `server_version_num` from which on it can be taken alone.
    pub(super) from: i32,
    /// On the source, in `datname`.
    pub(super) datname: &'static str,
    pub(super) statements: &'static [&'static str],
    /// What cannot be done without it either, where a subscription can be made.
    pub(super) with_it: &'static [&'static str],
}

pub(super) const TAKEN: &[Taken] = &[
    taken(
        "see the sessions of other roles",
        &["REVOKE pg_monitor FROM \"points man\""],
    ),
    taken(
        "end the sessions of other roles",
        &["REVOKE pg_signal_backend FROM \"points man\""],
    ),
    taken(
        "close a database",
        &[
            "ALTER DATABASE orders OWNER TO \"Stranger 1\"",
            "GRANT CREATE ON DATABASE orders TO \"points man\"",
        ],
    ),
    taken(
        "close a database that the migration does not name",
        &["ALTER DATABASE template1 OWNER TO \"Stranger 4\""],
    ),
    taken("run the barrier", &["ALTER ROLE \"points man\" NOCREATEDB"]),
    Taken {
        from: 150_000,
        ..taken(
            "read the WAL",
            &[
                "REVOKE EXECUTE ON FUNCTION pg_get_wal_records_info(pg_lsn, pg_lsn) FROM \"points man\"",
            ],
        )
    },
    taken(
        "connect to a database",
        &["REVOKE CONNECT ON DATABASE billing FROM PUBLIC, \"points man\""],
    ),
    taken(
        "keep the fence record",
        &["REVOKE CREATE ON DATABASE postgres FROM \"points man\""],
    ),
    Taken {
        with_it: &["make a subscription"],
        ..taken(
            "make the probe table",
            &["REVOKE CREATE ON DATABASE billing FROM \"points man\""],
        )
    },
    taken(
        "promote the standby",
        &["REVOKE EXECUTE ON FUNCTION pg_promote(boolean, integer) FROM \"points man\""],
    ),
    taken(
        "make and drop replication slots",
        &["ALTER ROLE \"points man\" NOREPLICATION"],
    ),
    Taken {
        datname: "orders",
        from: 160_000,
        ..taken(
            "publish a table",
            &[
                "ALTER TABLE plain OWNER TO \"Stranger 2\"",
                "GRANT \"Stranger 2\" TO \"points man\" WITH INHERIT FALSE, SET TRUE",
            ],
        )
    },
    Taken {
        datname: "orders",
        from: 160_000,
        ..taken(
            "apply changes as a table's owner",
            &[
                "ALTER TABLE plain OWNER TO \"Stranger 3\"",
                "GRANT \"Stranger 3\" TO \"points man\" WITH INHERIT TRUE, SET FALSE",
            ],
        )
    },
    Taken {
        datname: "orders",
        from: 160_000,
        ..taken(
            "set a sequence",
            &["ALTER SEQUENCE numbers OWNER TO \"Stranger 5\""],
        )
    },
    Taken {
        from: 160_000,
        ..taken(
            "make a subscription",
            &["REVOKE pg_create_subscription FROM \"points man\""],
        )
    },
    Taken {
        from: 160_000,
        ..taken(
            "make a temporary table",
            &[
                "REVOKE TEMPORARY ON DATABASE orders FROM PUBLIC, app, \"Stranger 1\", \"points man\"",
            ],
        )
    },
    Taken {
        datname: "orders",
        from: 160_000,
        ..taken(
            "apply changes to a table that forces row-level security on its owner",
            &[
                "ALTER TABLE plain ENABLE ROW LEVEL SECURITY",
                "ALTER TABLE plain FORCE ROW LEVEL SECURITY",
            ],
        )
    },
    Taken {
        from: 160_000,
        ..taken(
            "keep modules from recording the password of the reverse stream",
            &["ALTER DATABASE orders SET pg_stat_statements.track = 'all'"],
        )
    },
    Taken {
        from: 160_000,
        ..taken(
            "stream changes",
            &["ALTER ROLE \"re\"\"plication\" NOREPLICATION"],
        )
    },
];

const fn taken(right: &'static str, statements: &'static [&'static str]) -> Taken {
    Taken {
        right,
        from: 0,
        datname: "postgres",
        statements,
        with_it: &[],
    }
}
