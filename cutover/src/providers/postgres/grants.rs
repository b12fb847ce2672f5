//! What roles of a server must be allowed to do: the rights, each with what needs it and
//! what is given up without it, and the SQL that grants them.

mod right;
mod script;

pub(super) use right::{
    ACT_FOR_OWNERS, CARRY_SEQUENCES, CHANGE_STANDBYS, CLOSE_DATABASE, CLOSE_OTHERS,
    CUT_OFF_STANDBY, END_SESSIONS, ENTER_DATABASE, HIDE_PASSWORD, KEEP_RECORD, MAKE_PROBE_TABLE,
    MAKE_SLOTS, MAKE_TEMP_TABLE, PASS_ROW_SECURITY, PROMOTE, PUBLISH_TABLES, READ_WAL, REWRITE_HBA,
    RUN_BARRIER, SEE_SESSIONS, STREAM_CHANGES, SUBSCRIBE, SUBSCRIBE_BEFORE_16,
    SUBSCRIBE_WITHOUT_PASSWORD, TAKE_LOGINS, WRITE_PROBE,
};
pub use right::{RIGHTS, Right, Without};
pub use script::{Grants, Management, RoleNames};
