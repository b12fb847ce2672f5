//! One right after the other. `docs/preflight.md` shows this table to operators.

/// Something that a role must be allowed to do on a server.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// What the role may do, as a phrase behind "may" and "may not".
    pub action: &'static str,
    /// The statements and views that need it.
    pub needed_by: &'static str,
    /// What grants it, in general; a finding has the statement with its names.
    pub grant: &'static str,
    /// The check whose finding names it.
    pub check: &'static str,
    /// What happens where it is missing.
    pub without: Without,
    /// What is lost by that, behind "without it".
    pub given_up: &'static str,
}

/// What a missing right means for a switch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Without {
    /// There is no switch.
    Blocks,
    /// There is no switch, unless the operator gives up the lossless way back.
    BlocksForWayBack,
    /// The switch goes on with less.
    Warns,
}

impl Without {
    /// As the documents word it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocks => "block",
            Self::BlocksForWayBack => "block R",
            Self::Warns => "warn",
        }
    }
}

pub(in super::super) const ENTER_DATABASE: Right = Right {
    action: "connect to a database",
    needed_by: "every session of the engine",
    grant: "`GRANT CONNECT ON DATABASE`",
    check: "G1",
    without: Without::Blocks,
    given_up: "no session can be opened there",
};

pub(in super::super) const KEEP_RECORD: Right = Right {
    action: "keep the fence record",
    needed_by: "`CREATE SCHEMA pointsman` and table `pointsman.fence`, in `postgres`",
    grant: "`GRANT CREATE ON DATABASE postgres`",
    check: "G1",
    without: Without::Blocks,
    given_up: "a closed server would not say who closed it, and how it was before",
};

pub(in super::super) const MAKE_PROBE_TABLE: Right = Right {
    action: "make the probe table",
    needed_by: "`CREATE SCHEMA pointsman` and table `pointsman.probe`, in each database",
    grant: "`GRANT CREATE ON DATABASE`",
    check: "G1",
    without: Without::Blocks,
    given_up: "nobody could write the first row after the flip",
};

pub(in super::super) const PROMOTE: Right = Right {
    action: "promote the standby",
    needed_by: "`pg_promote`, on the target",
    grant: "`GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer)`, in `postgres`",
    check: "G1",
    without: Without::Blocks,
    given_up: "the target stays a standby",
};

pub(in super::super) const CUT_OFF_STANDBY: Right = Right {
    action: "end the walsender of the target",
    needed_by: "`pg_terminate_backend` and `pg_drop_replication_slot`, on the source",
    grant: "a role without superuser in the `primary_conninfo` of the target",
    check: "G1",
    without: Without::Warns,
    given_up: "a promotion that was asked for and did not come cannot be undone by cutting the target off",
};

pub(in super::super) const SEE_SESSIONS: Right = Right {
    action: "see the sessions of other roles",
    needed_by: "`pg_stat_activity`, `pg_stat_replication`, `pg_stat_wal_receiver`",
    grant: "`GRANT pg_monitor`",
    check: "C41",
    without: Without::Blocks,
    given_up: "\"no session is left\" could not be said",
};

pub(in super::super) const END_SESSIONS: Right = Right {
    action: "end the sessions of other roles",
    needed_by: "`pg_terminate_backend`",
    grant: "`GRANT pg_signal_backend`",
    check: "C41",
    without: Without::Blocks,
    given_up: "sessions that are open would write on behind the fence",
};

pub(in super::super) const CLOSE_DATABASE: Right = Right {
    action: "close a database",
    needed_by: "`ALTER DATABASE … ALLOW_CONNECTIONS false`, `CONNECTION LIMIT`",
    grant: "`GRANT` of its owner, or `ALTER DATABASE … OWNER TO`",
    check: "C41",
    without: Without::Blocks,
    given_up: "the database would accept writes on both servers",
};

pub(in super::super) const CLOSE_OTHERS: Right = Right {
    action: "close a database that the migration does not name",
    needed_by: "the same, for `postgres`, templates and what the service keeps",
    grant: "the same",
    check: "C41",
    without: Without::Warns,
    given_up: "it stays open on both servers; a write there is seen by the proof, and not prevented",
};

pub(in super::super) const RUN_BARRIER: Right = Right {
    action: "run the barrier",
    needed_by: "`ALTER DATABASE … RENAME TO` its own name, or `SET TABLESPACE` to its own",
    grant: "`ALTER ROLE … CREATEDB`, or `GRANT CREATE ON TABLESPACE`",
    check: "C41",
    without: Without::Blocks,
    given_up: "a session that was being let in at the fence could write behind it",
};

pub(in super::super) const REWRITE_HBA: Right = Right {
    action: "rewrite pg_hba.conf",
    needed_by: "`COPY … TO` its path, `pg_reload_conf`, at fence level `sql+hba`",
    grant: "superuser, or fence level `sql`",
    check: "C41",
    without: Without::Blocks,
    given_up: "the server cannot be fenced at the level that it is declared with",
};

pub(in super::super) const READ_WAL: Right = Right {
    action: "read the WAL",
    needed_by: "`pg_get_wal_records_info` of extension `pg_walinspect` in `postgres`, from 15 on",
    grant: "`CREATE EXTENSION pg_walinspect`, `GRANT EXECUTE ON FUNCTION`",
    check: "C81",
    without: Without::Warns,
    given_up: "that nobody wrote is proved by transaction ids, to which the id of a stranger is a write; writes at risk have no number",
};

pub(in super::super) const MAKE_SLOTS: Right = Right {
    action: "make and drop replication slots",
    needed_by: "`pg_create_logical_replication_slot`, `pg_drop_replication_slot`",
    grant: "`ALTER ROLE … REPLICATION`; RDS: `GRANT rds_replication`",
    check: "G2",
    without: Without::BlocksForWayBack,
    given_up: "there is no reverse stream",
};

pub(in super::super) const PUBLISH_TABLES: Right = Right {
    action: "publish a table",
    needed_by: "`CREATE PUBLICATION`, on the source",
    grant: "`GRANT` of the table's owner",
    check: "G2",
    without: Without::BlocksForWayBack,
    given_up: "what is written to the table after the switch does not come back",
};

pub(in super::super) const SUBSCRIBE: Right = Right {
    action: "make a subscription",
    needed_by: "`CREATE SUBSCRIPTION`, on the source",
    grant: "`GRANT pg_create_subscription`, `GRANT CREATE ON DATABASE`; from 16 on",
    check: "G2",
    without: Without::BlocksForWayBack,
    given_up: "there is no reverse stream",
};

pub(in super::super) const MAKE_TEMP_TABLE: Right = Right {
    action: "make a temporary table",
    needed_by: "the connection string of the subscription, which comes by `COPY` into one, on the source",
    grant: "`GRANT TEMPORARY ON DATABASE`",
    check: "G2",
    without: Without::BlocksForWayBack,
    given_up: "there is no reverse stream",
};

pub(in super::super) const SUBSCRIBE_WITHOUT_PASSWORD: Right = Right {
    action: "subscribe without a password",
    needed_by: "`CREATE SUBSCRIPTION` by a role without superuser, from 16 on",
    grant: "a `replication_password` of the target, which its server asks for",
    check: "G2",
    without: Without::BlocksForWayBack,
    given_up: "there is no reverse stream",
};

pub(in super::super) const HIDE_PASSWORD: Right = Right {
    action: "keep modules from recording the password of the reverse stream",
    needed_by: "`CREATE SUBSCRIPTION` where `pg_stat_statements.track` is `all` or pgAudit logs, on the source",
    grant: "`GRANT SET ON PARAMETER`, from 16 on; or other values by `ALTER ROLE … SET`",
    check: "G2",
    without: Without::BlocksForWayBack,
    given_up: "the source refuses to arm, and there is no reverse stream",
};

pub(in super::super) const ACT_FOR_OWNERS: Right = Right {
    action: "apply changes as a table's owner",
    needed_by: "the apply worker of the subscription, from 16 on",
    grant: "`GRANT` of the table's owner `WITH SET TRUE`",
    check: "G2",
    without: Without::BlocksForWayBack,
    given_up: "the reverse stream stops at the first change of the table",
};

pub(in super::super) const PASS_ROW_SECURITY: Right = Right {
    action: "apply changes to a table that forces row-level security on its owner",
    needed_by: "the apply worker of the subscription, which acts as the owner, from 16 on",
    grant: "`ALTER TABLE … NO FORCE ROW LEVEL SECURITY`, or `ALTER ROLE … BYPASSRLS` of the owner",
    check: "G2",
    without: Without::BlocksForWayBack,
    given_up: "the reverse stream stops at the first change of the table",
};

pub(in super::super) const CARRY_SEQUENCES: Right = Right {
    action: "set a sequence",
    needed_by: "`setval`, on the source; reading its value, on the target",
    grant: "`GRANT` of the sequence's owner",
    check: "G2",
    without: Without::BlocksForWayBack,
    given_up: "after a rollback it gives numbers a second time",
};

pub(in super::super) const STREAM_CHANGES: Right = Right {
    action: "stream changes",
    needed_by: "the role of `replication`, which the source connects to the target as",
    grant: "`ALTER ROLE … LOGIN REPLICATION`; RDS: `GRANT rds_replication`",
    check: "G2",
    without: Without::BlocksForWayBack,
    given_up: "there is no reverse stream",
};

pub(in super::super) const TAKE_LOGINS: Right = Right {
    action: "take LOGIN from a role that passes the fence of the bake",
    needed_by: "`ALTER ROLE … NOLOGIN` for superusers and members of the control role",
    grant: "superuser; for members `CREATEROLE`, from 16 on with `GRANT … WITH ADMIN TRUE`",
    check: "G2",
    without: Without::Warns,
    given_up: "in the bake the role can log in to the former server; a write there is not prevented, and is named where it is known who wrote",
};

pub(in super::super) const WRITE_PROBE: Right = Right {
    action: "write the probe table",
    needed_by: "`INSERT … ON CONFLICT DO UPDATE` of `pointsman.probe`, by the role of `probe`",
    grant: "`GRANT USAGE ON SCHEMA`, `GRANT SELECT, INSERT, UPDATE ON TABLE`",
    check: "G4",
    without: Without::Blocks,
    given_up: "the write probe would fail on a healthy server",
};

pub(in super::super) const SUBSCRIBE_BEFORE_16: Right = Right {
    action: "make a subscription",
    needed_by: "`CREATE SUBSCRIPTION`, on the source, before 16",
    grant: "superuser",
    check: "G3",
    without: Without::Warns,
    given_up: "there is no way back after the first write",
};

pub(in super::super) const CHANGE_STANDBYS: Right = Right {
    action: "change which standbys commits wait for",
    needed_by: "`ALTER SYSTEM SET synchronous_standby_names`, `pg_reload_conf`, where that setting is not empty",
    grant: "`GRANT ALTER SYSTEM ON PARAMETER`, `GRANT EXECUTE ON FUNCTION pg_reload_conf()` in `postgres`; from 15 on",
    check: "S9",
    without: Without::Blocks,
    given_up: "a server whose commits wait for a standby is not moved: they would wait for ever",
};

/// Every right, in the order of the checks.
pub const RIGHTS: &[Right] = &[
    SEE_SESSIONS,
    END_SESSIONS,
    CLOSE_DATABASE,
    CLOSE_OTHERS,
    RUN_BARRIER,
    REWRITE_HBA,
    READ_WAL,
    ENTER_DATABASE,
    KEEP_RECORD,
    MAKE_PROBE_TABLE,
    PROMOTE,
    CUT_OFF_STANDBY,
    MAKE_SLOTS,
    PUBLISH_TABLES,
    SUBSCRIBE,
    MAKE_TEMP_TABLE,
    SUBSCRIBE_WITHOUT_PASSWORD,
    HIDE_PASSWORD,
    ACT_FOR_OWNERS,
    PASS_ROW_SECURITY,
    CARRY_SEQUENCES,
    STREAM_CHANGES,
    TAKE_LOGINS,
    SUBSCRIBE_BEFORE_16,
    WRITE_PROBE,
    CHANGE_STANDBYS,
];
