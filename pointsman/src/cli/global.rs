use clap::{Args, ValueEnum};

use super::certificate::{CONNECTION, Certificate};

/// What every verb but `serve` and `recover` needs to know.
#[derive(Args, Clone, Debug)]
pub(super) struct Global {
    /// The control plane's admin address
    #[arg(
        long,
        global = true,
        env = "POINTSMAN_ADMIN",
        value_name = "URL",
        help_heading = CONNECTION,
        default_value = "http://127.0.0.1:18001"
    )]
    pub(super) admin: String,
    #[command(flatten)]
    pub(super) certificate: Certificate,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t, help_heading = CONNECTION)]
    pub(super) output: Format,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}
