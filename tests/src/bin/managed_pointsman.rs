//! `pointsman` with the provider of a lab's cloud: what a release has no use for.

use std::process::ExitCode;

use pointsman::Parts;
use pointsman_tests::cloud;

fn main() -> ExitCode {
    let parts = Parts {
        providers: cloud::providers,
        ..Parts::default()
    };
    pointsman::cli::main_with(std::env::args_os(), parts)
}
