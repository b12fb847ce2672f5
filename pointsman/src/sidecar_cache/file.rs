//! The file that outlives the process.
//!
//! One line for whoever looks at it first, `pointsman-sidecar-cache FORMAT SHA256`, the hash being that of
//! everything behind the line. Then one line of JSON about whose it is and of when, and behind it the
//! resources: a `DeltaDiscoveryResponse` for each type, each with its length before it.

mod contents;

use std::{
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

use self::contents::Damage;
pub(super) use self::contents::{Contents, Owner};
use super::kept::Kept;

/// Where one sidecar's configuration is kept. It is this process's alone.
#[derive(Debug)]
pub(super) struct CacheFile {
    path: PathBuf,
    owner: Owner,
    /// The user that this process runs as.
    user: u32,
    /// Held as long as the process runs.
    _lock: File,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{what} {} (--file): {source}", path.display())]
    Disk {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "another `pointsman sidecar cache` keeps {} (--file): stop it, or name another file",
        .0.display()
    )]
    Taken(PathBuf),
    #[error("{} (--file) is not used: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
}

impl CacheFile {
    /// Takes the file at `path` for `owner`, whether it exists yet or not.
    ///
    /// # Errors
    /// [`FileError::Taken`] if another process has it, and failures of the disk.
    pub(super) fn take(path: &Path, owner: Owner) -> Result<Self, FileError> {
        let beside = with_ending(path, ".lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(&beside)
            .map_err(|source| failed("cannot make", &beside, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FileError::Taken(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed("cannot lock", &beside, source)),
        }
        Ok(Self {
            path: path.to_owned(),
            owner,
            user: geteuid().as_raw(),
            _lock: lock,
        })
    }

    /// What a former process has kept; `None` if there is nothing. What is damaged, or of a former version, is
    /// nothing, too, and is reported by the second value.
    ///
    /// # Errors
    /// [`FileError::Unusable`] if the file is not this cache's, so that it must not be replaced.
    pub(super) fn load(&self) -> Result<(Option<Contents>, Option<String>), FileError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
            Err(source) => return Err(failed("cannot open", &self.path, source)),
        };
        let unusable = |why: String| FileError::Unusable {
            path: self.path.clone(),
            why,
        };
        let about = file
            .metadata()
            .map_err(|source| failed("cannot look at", &self.path, source))?;
        if !about.is_file() {
            return Err(unusable("it is no file".to_owned()));
        }
        if let Some(why) = self.distrust(&about) {
            return Err(unusable(why));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| failed("cannot read", &self.path, source))?;
        match Contents::decode(&bytes) {
            Ok(contents) if contents.owner == self.owner => Ok((Some(contents), None)),
            Ok(contents) => Err(unusable(format!(
                "it holds the configuration of {}, and this cache is for {}: name another file, or remove it",
                contents.owner, self.owner
            ))),
            Err(Damage::Useless(why)) => Ok((None, Some(why))),
            Err(Damage::Foreign(why)) => Err(unusable(why)),
        }
    }

    /// Why somebody else may have written it, who would decide where sidecars send applications.
    fn distrust(&self, about: &Metadata) -> Option<String> {
        if about.uid() != self.user {
            return Some(format!(
                "it belongs to user {}, and this cache runs as user {}: run it as that user, or remove it",
                about.uid(),
                self.user
            ));
        }
        (about.mode() & OTHERS_WRITE != 0).then(|| {
            format!(
                "others may write to it (mode {:o}), and so decide where sidecars send applications: remove it",
                about.mode() & 0o777
            )
        })
    }

    /// Replaces the file, as a whole or not at all, also when the machine fails meanwhile.
    ///
    /// # Errors
    /// Failures of the disk; then the former file is there still.
    pub(super) fn write(&self, contents: &Contents) -> Result<(), FileError> {
        let draft = with_ending(&self.path, ".new");
        let bytes = contents.encode();
        let write = || {
            // What a killed process has left, or somebody else: it would keep its owner and its mode.
            fs::remove_file(&draft).ok();
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(MODE)
                .open(&draft)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&draft, &self.path)?;
            self.sync_folder()
        };
        write().map_err(|source| {
            fs::remove_file(&draft).ok();
            failed("cannot write", &self.path, source)
        })
    }

    /// Removes the file, if there is one.
    ///
    /// # Errors
    /// Failures of the disk.
    pub(super) fn remove(&self) -> Result<(), FileError> {
        let removed = match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed,
        };
        removed
            .and_then(|()| self.sync_folder())
            .map_err(|source| failed("cannot remove", &self.path, source))
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }

    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::Disk {
        what,
        path: path.to_owned(),
        source,
    }
}

/// It names servers and is nobody else's business.
const MODE: u32 = 0o600;
const OTHERS_WRITE: u32 = 0o022;
/// With the lines at its head, and what the encoding adds to many small resources.
const MAX_FILE: u64 = 2 * Kept::MAX_BYTES as u64;

#[cfg(test)]
mod tests;
