//! Every kind of transaction that the proofs must tell apart.

use pointsman_lab::postgres::Walsender;

use crate::pair::{Running, Session};

/// What a transaction does before a marker is written and between marker and proof.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    speaks: Speaks,
    before: &'static [&'static str],
    pub(crate) between: &'static [&'static str],
    after: &'static [&'static str],
    /// What each proof must say of it.
    pub(crate) is: Is,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Speaks {
    /// As role `app`, which owns its tables.
    App,
    /// As a superuser.
    Boss,
    /// As a walsender that is told plain SQL.
    Replication,
}

/// What a kind of transaction is to the two proofs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Is {
    /// A user commit: found by both.
    Written,
    /// It takes an id and writes no user's row: by ids it is found all the same.
    Id,
    /// It takes none, or is aborted: found by neither.
    Nothing,
}

const INSERT: &str = "INSERT INTO items (words) VALUES ('x')";
/// A table that a VACUUM can truncate. A standby can keep deleted rows alive, not these.
pub(crate) const EMPTIED: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS emptied (id bigserial PRIMARY KEY, words text)",
    "BEGIN",
    "INSERT INTO emptied (words) SELECT repeat('x', 500) FROM generate_series(1, 500)",
    "ROLLBACK",
];
/// More WAL than is read back from the beginning of a proof. It is no transaction's.
const FAR: &str = "SELECT pg_logical_emit_message(false, 'far', repeat('x', 5 * 1024 * 1024))";
const LOCK: &str = "SELECT * FROM items ORDER BY id LIMIT 1 FOR UPDATE";

pub(crate) const KINDS: &[Kind] = &[
    app("INSERT", &[], &[INSERT], Is::Written),
    app(
        "INSERT whose commit is not waited for",
        &[],
        &[
            "SET synchronous_commit = off",
            INSERT,
            "RESET synchronous_commit",
        ],
        Is::Written,
    ),
    app(
        "UPDATE",
        &[INSERT],
        &["UPDATE items SET words = 'y' WHERE id = (SELECT max(id) FROM items)"],
        Is::Written,
    ),
    app(
        "logged nextval",
        &["CREATE SEQUENCE IF NOT EXISTS logged"],
        &["SELECT nextval('logged') FROM generate_series(1, 33)"],
        Is::Written,
    ),
    app(
        "nextval out of the logged values",
        &[
            "CREATE SEQUENCE IF NOT EXISTS unlogged",
            "SELECT setval('unlogged', 1)",
            "SELECT nextval('unlogged')",
        ],
        &["SELECT nextval('unlogged')"],
        Is::Nothing,
    ),
    app(
        "subtransaction",
        &[],
        &["BEGIN", "SAVEPOINT s", INSERT, "RELEASE s", "COMMIT"],
        Is::Written,
    ),
    app(
        "subtransaction that is aborted, in one that commits",
        &[],
        &["BEGIN", "SAVEPOINT s", INSERT, "ROLLBACK TO s", "COMMIT"],
        Is::Id,
    ),
    app(
        "new table",
        &[],
        &["CREATE TABLE t AS SELECT 1 AS one", "DROP TABLE t"],
        Is::Written,
    ),
    app("large object", &[], &["SELECT lo_create(0)"], Is::Written),
    app(
        "COMMIT PREPARED",
        &["BEGIN", INSERT, "PREPARE TRANSACTION 'p'"],
        &["COMMIT PREPARED 'p'"],
        Is::Written,
    ),
    app(
        "COMMIT PREPARED, written far before",
        &["BEGIN", INSERT, "PREPARE TRANSACTION 'f'", FAR],
        &["COMMIT PREPARED 'f'"],
        Is::Written,
    ),
    app(
        "ROLLBACK PREPARED",
        &["BEGIN", INSERT, "PREPARE TRANSACTION 'r'"],
        &["ROLLBACK PREPARED 'r'"],
        Is::Nothing,
    ),
    Kind {
        after: &["ROLLBACK PREPARED 'q'"],
        ..app(
            "prepared transaction",
            &[],
            &["BEGIN", INSERT, "PREPARE TRANSACTION 'q'"],
            Is::Id,
        )
    },
    app(
        "transaction that had begun",
        &["BEGIN", INSERT],
        &["COMMIT"],
        Is::Written,
    ),
    app(
        "transaction that had its id",
        &["BEGIN", "SELECT pg_current_xact_id()"],
        &[INSERT, "COMMIT"],
        Is::Written,
    ),
    app(
        "transaction that had begun with a subtransaction",
        &["BEGIN", "SAVEPOINT s", INSERT, "RELEASE s"],
        &["COMMIT"],
        Is::Written,
    ),
    app(
        "transaction that had begun and is aborted",
        &["BEGIN", INSERT],
        &["ROLLBACK"],
        Is::Nothing,
    ),
    Kind {
        after: &["COMMIT"],
        ..app(
            "transaction that has not ended",
            &[],
            &["BEGIN", INSERT],
            Is::Id,
        )
    },
    app(
        "aborted transaction",
        &[],
        &["BEGIN", INSERT, "ROLLBACK"],
        Is::Nothing,
    ),
    Kind {
        speaks: Speaks::Replication,
        ..app(
            "walsender that is told plain SQL",
            &[],
            &[INSERT],
            Is::Written,
        )
    },
    // Of an empty table there is nothing to write down.
    Kind {
        before: &[INSERT],
        ..boss("ANALYZE", &["ANALYZE items"], Is::Id)
    },
    Kind {
        before: EMPTIED,
        ..boss(
            "VACUUM that truncates",
            &["VACUUM (TRUNCATE) emptied"],
            Is::Id,
        )
    },
    boss("VACUUM", &["VACUUM (TRUNCATE false) items"], Is::Nothing),
    app(
        "temporary table",
        &["CREATE TEMP TABLE IF NOT EXISTS mine (one int)"],
        &["INSERT INTO mine VALUES (1)"],
        Is::Id,
    ),
    app(
        "new temporary table",
        &[],
        &[
            "CREATE TEMP TABLE of_mine AS SELECT 1 AS one",
            "DROP TABLE of_mine",
        ],
        Is::Written,
    ),
    app("SELECT FOR UPDATE", &[INSERT], &[LOCK], Is::Id),
    app(
        "id without a write",
        &[],
        &["SELECT pg_current_xact_id()"],
        Is::Id,
    ),
    app("NOTIFY", &[], &["NOTIFY something"], Is::Id),
    app("SELECT", &[], &["SELECT count(*) FROM items"], Is::Nothing),
];

const fn app(
    name: &'static str,
    before: &'static [&'static str],
    between: &'static [&'static str],
    is: Is,
) -> Kind {
    Kind {
        name,
        speaks: Speaks::App,
        before,
        between,
        after: &[],
        is,
    }
}

const fn boss(name: &'static str, between: &'static [&'static str], is: Is) -> Kind {
    Kind {
        speaks: Speaks::Boss,
        ..app(name, &[], between, is)
    }
}

/// One kind, with a session of its own.
pub(crate) struct Writer {
    pub(crate) kind: &'static Kind,
    session: Speaking,
}

enum Speaking {
    Sql(Session),
    Replication(Walsender),
}

impl Writer {
    /// A writer of each kind, in database `orders`.
    pub(crate) async fn of_each_kind(server: &Running) -> Vec<Self> {
        let grant = "GRANT SELECT, INSERT ON items TO repl; \
                     GRANT USAGE ON SEQUENCE items_id_seq TO repl";
        server.execute("orders", grant).await;
        let mut writers = Vec::new();
        for kind in KINDS {
            let session = match kind.speaks {
                Speaks::App => Speaking::Sql(server.connect("app", "orders").await.unwrap()),
                Speaks::Boss => Speaking::Sql(server.connect("boss", "orders").await.unwrap()),
                Speaks::Replication => {
                    Speaking::Replication(server.walsender("repl", "orders").await)
                }
            };
            writers.push(Self { kind, session });
        }
        writers
    }

    /// Before the marker.
    pub(crate) async fn begin(&mut self) {
        self.run(self.kind.before).await;
    }

    /// Between marker and proof.
    pub(crate) async fn write(&mut self) {
        self.run(self.kind.between).await;
    }

    /// After the proof.
    pub(crate) async fn end(&mut self) {
        self.run(self.kind.after).await;
    }

    async fn run(&mut self, statements: &[&str]) {
        for statement in statements {
            match &mut self.session {
                Speaking::Sql(session) => session.run(statement).await,
                Speaking::Replication(walsender) => walsender.run(statement).await.unwrap(),
            }
        }
    }
}
