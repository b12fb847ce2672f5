//! A second process that uses a store: this test binary again, with one test of its own.

use std::{
    env,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

use pointsman_catalog::{
    Store,
    store::{EmbeddedStore, Precondition},
};

use crate::store_suite::put;

/// What the second process is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// Open the store, and say how that went.
    Open,
    /// Commit pairs, numbered from 1, and say each number once it is committed, until killed.
    CommitUntilKilled,
    /// Commit ever more until the file may grow no further and say why; then make room, and go
    /// on.
    CommitUntilFull,
}

/// A running second process, killed with this.
#[derive(Debug)]
pub(crate) struct Second {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Second {
    pub(crate) fn start(task: Task, dir: &Path) -> Self {
        Self::run(Command::new(env::current_exe().unwrap()), task, dir)
    }

    /// With files that may grow to `kib` KiB; what would make one larger fails as on a full disk.
    pub(crate) fn start_with_room(kib: u32, task: Task, dir: &Path) -> Self {
        let mut shell = Command::new("bash");
        let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
        shell.arg("-c").arg(script).arg(env::current_exe().unwrap());
        Self::run(shell, task, dir)
    }

    fn run(mut command: Command, task: Task, dir: &Path) -> Self {
        let mut child = command
            .args([
                "second_process::body",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(TASK, format!("{task:?}"))
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// The next thing it says, or `None` once it has ended.
    pub(crate) fn says(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if let Some(message) = line.trim_end().split_once(MARK) {
                return Some(message.1.to_owned());
            }
            line.clear();
        }
        None
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(mut self) -> Option<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.says()).last()
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
#[ignore = "the body of the second process; does nothing by itself"]
async fn body() {
    let (Ok(task), Some(dir)) = (env::var(TASK), env::var_os(DIR)) else {
        return;
    };
    let dir = Path::new(&dir);
    match task.as_str() {
        "Open" => match EmbeddedStore::open(dir) {
            Ok(_) => say("open"),
            Err(error) => say(error),
        },
        "CommitUntilKilled" => commit_until_killed(dir).await,
        "CommitUntilFull" => commit_until_full(dir).await,
        other => panic!("{other}"),
    }
}

async fn commit_until_killed(dir: &Path) {
    let store = EmbeddedStore::open(dir).unwrap();
    for number in 1.. {
        let value = format!("{number}:{}", "x".repeat(number % 5_000));
        let pair = ["a", "b"].map(|key| put(key, &value, Precondition::Any));
        store.commit(pair.to_vec()).await.unwrap();
        say(number);
    }
}

async fn commit_until_full(dir: &Path) {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(dir).unwrap());
    let watch = store.watch();
    let big = "x".repeat(100_000);
    let mut fitted = 0;
    let refused = loop {
        let write = put(&format!("big/{fitted}"), &big, Precondition::Any);
        match store.commit(vec![write]).await {
            Ok(_) => fitted += 1,
            Err(error) => break error,
        }
    };
    say(refused);
    let room = (0..fitted).map(|number| put(&format!("big/{number}"), "", Precondition::Any));
    let revision = store.commit(room.collect()).await.unwrap();
    assert_eq!(*watch.borrow(), revision);
    say(format!(
        "made room, {}",
        store.range("big/").await.unwrap().len() - fitted
    ));
    let write = put("after", &big, Precondition::Absent);
    store.commit(vec![write]).await.unwrap();
    say("goes on");
}

#[expect(clippy::print_stdout, reason = "how the two processes speak")]
fn say(message: impl std::fmt::Display) {
    println!("{MARK}{message}");
    std::io::stdout().flush().unwrap();
}

const TASK: &str = "POINTSMAN_TEST_TASK";
const DIR: &str = "POINTSMAN_TEST_DIR";
/// Begins what is said, since the test harness prints lines of its own.
const MARK: &str = "second process: ";
