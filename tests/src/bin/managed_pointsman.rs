//! `pointsman` with the provider of a lab's cloud: what a release has no use for.

use std::process::ExitCode;

use pointsman_tests::cloud;

fn main() -> ExitCode {
    pointsman::cli::main_with(std::env::args_os(), cloud::providers)
}
