//! `pointsman` whose store asks `make crash` around each write: what a release has no use for.

use std::process::ExitCode;

use pointsman::Parts;
use pointsman_tests::crash;

fn main() -> ExitCode {
    let parts = Parts {
        store: crash::overseen,
        ..Parts::default()
    };
    pointsman::cli::main_with(std::env::args_os(), parts)
}
