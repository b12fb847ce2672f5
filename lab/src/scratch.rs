//! Where a lab keeps its files, and what it shares with other labs on the machine.
//!
//! Everything lies below `pointsman-lab-<uid>` in the temporary folder or in memory. A process that holds something there holds
//! a file lock on it, which the kernel takes back when the process dies, however it dies:
//! so nothing that is left behind can be mistaken for something in use.

use std::{
    env,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};

/// What a lab's files lie on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Storage {
    /// A file system in memory, where the machine has one with room: a pair of servers is there
    /// in a second, and `fsync` costs nothing. What is killed keeps its files all the same.
    #[default]
    Memory,
    /// The temporary folder: what measurements of commits must use.
    Disk,
}

/// The room that a lab may need, in KiB: two servers with all the WAL they may keep.
const ROOM_KIB: u64 = 3 * 1024 * 1024;

/// A lab's own folder, removed on drop together with everything in it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    // Held for as long as the folder is in use.
    _lock: File,
}

impl Scratch {
    /// Makes a new folder that every user of the machine can enter, and sweeps away
    /// folders whose process died without doing so.
    pub fn new() -> Result<Self> {
        Self::on(Storage::default())
    }

    /// The same, on the storage of choice.
    pub fn on(storage: Storage) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let memory = Path::new("/dev/shm");
        let labs = if storage == Storage::Memory && room_kib(memory) >= ROOM_KIB {
            folder_in(memory, "labs")?
        } else {
            shared_folder("labs")?
        };
        sweep(&labs);
        let name = format!("{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // The lock lies beside the folder and comes first: a sweep must never find the
        // folder of a living lab unlocked.
        let lock = try_lock(&labs.join(format!("{name}.lock")))?
            .with_context(|| format!("the lab folder {name} is taken"))?;
        let path = labs.join(name);
        make_folder(&path)?;
        Ok(Self { path, _lock: lock })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if env::var_os("POINTSMAN_LAB_KEEP").is_some() {
            tracing::info!(path = %self.path.display(), "the lab's files are kept");
            // Without it no sweep finds the folder.
            let _ = fs::remove_file(self.path.with_extension("lock"));
            return;
        }
        remove(&self.path);
    }
}

/// `<temp>/pointsman-lab-<uid>/<name>`, made if need be. Servers that gave up root's
/// rights have to get there, so a temporary folder that others cannot enter is passed over
/// for `/tmp`.
pub(crate) fn shared_folder(name: &str) -> Result<PathBuf> {
    let temp = env::temp_dir();
    if others_can_enter(&temp) {
        folder_in(&temp, name)
    } else {
        folder_in(Path::new("/tmp"), name)
    }
}

fn folder_in(root: &Path, name: &str) -> Result<PathBuf> {
    let uid = own_uid()?;
    let base = root.join(format!("pointsman-lab-{uid}"));
    make_folder(&base)?;
    if fs::metadata(&base)?.uid() != uid {
        bail!(
            "{} belongs to somebody else; remove it or set TMPDIR",
            base.display()
        );
    }
    let folder = base.join(name);
    make_folder(&folder)?;
    Ok(folder)
}

/// The user this process runs as.
pub(crate) fn own_uid() -> Result<u32> {
    Ok(fs::metadata("/proc/self")
        .context("/proc is needed to find out the user")?
        .uid())
}

/// Takes the lock file at `path`; `None` when somebody has it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

/// Opens (and makes, if need be) the lock file at `path`.
pub(crate) fn lock_file(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("opening the lock file {}", path.display()))
}

fn make_folder(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().mode(0o755).create(path);
    match made {
        // The umask may have taken away what servers need.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
    .with_context(|| format!("making {}", path.display()))
}

/// What is free at `path`, in KiB; nothing when that cannot be found out.
fn room_kib(path: &Path) -> u64 {
    let output = Command::new("df")
        .args(["-k", "--output=avail"])
        .arg(path)
        .stderr(Stdio::null())
        .output();
    let answer = output.map(|output| output.stdout).unwrap_or_default();
    let answer = String::from_utf8_lossy(&answer);
    let last = answer.lines().last().unwrap_or_default();
    last.trim().parse().unwrap_or(0)
}

fn others_can_enter(path: &Path) -> bool {
    path.ancestors()
        .all(|folder| fs::metadata(folder).is_ok_and(|found| found.mode() & 0o001 != 0))
}

/// Removes the folders of labs that are gone. Best effort: another lab may be doing the same.
fn sweep(labs: &Path) {
    let Ok(entries) = fs::read_dir(labs) else {
        return;
    };
    for lock in entries.flatten().map(|entry| entry.path()) {
        if lock.extension().is_some_and(|found| found == "lock")
            && let Ok(Some(_held)) = try_lock(&lock)
        {
            remove(&lock.with_extension(""));
        }
    }
}

/// Removes a lab's folder, and its lock file once nothing is left to guard.
fn remove(folder: &Path) {
    let removed = fs::remove_dir_all(folder);
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %folder.display(), %error, "the lab's files could not be removed");
        }
        Ok(()) | Err(_) => {
            // Already gone is as good.
            let _ = fs::remove_file(folder.with_extension("lock"));
        }
    }
}
