//! `make demo`.

use std::process::ExitCode;

use pointsman_tests::demo::{self, Setting};

#[tokio::main]
async fn main() -> ExitCode {
    demo::main(Setting::SelfManaged).await
}
