//! What may be read of this machine for a connection.

use std::{
    env, fs,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use pointsman_catalog::Secret;

/// The files and variables that connection strings may name. Somebody who may declare servers must not be
/// able to have any other file read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SecretSources {
    /// Folders whose files may be read.
    pub folders: Vec<PathBuf>,
    /// Names of variables; a `*` at the end stands for anything.
    pub environment: Vec<String>,
}

/// Who but its owner may be able to read a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Guard {
    Anybody,
    /// The group, if root owns the file: PostgreSQL's rule for keys.
    Group,
    /// Nobody: libpq's rule for password files.
    Owner,
}

impl SecretSources {
    /// Everything that the process itself may read: for a command that an operator runs on their own
    /// machine.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self {
            folders: vec![PathBuf::from("/")],
            environment: vec!["*".to_owned()],
        }
    }

    /// The text of the file at `path`.
    ///
    /// # Errors
    /// The message names the file and shows nothing of it.
    pub(super) fn read(&self, path: &Path, guard: Guard) -> Result<Secret, String> {
        let bytes = self.read_bytes(path, guard)?;
        String::from_utf8(bytes)
            .map(Secret::new)
            .map_err(|_| format!("{} is not UTF-8", path.display()))
    }

    /// The bytes of the file at `path`; as [`Self::read`].
    pub(super) fn read_bytes(&self, path: &Path, guard: Guard) -> Result<Vec<u8>, String> {
        let shown = path.display();
        let unreadable = |error: std::io::Error| format!("{shown} cannot be read: {error}");
        // Before anything is looked at: otherwise the answer would say which files there are.
        if !self.folders.iter().any(|folder| lies_in(path, folder)) {
            return Err(outside(path));
        }
        let real = path.canonicalize().map_err(unreadable)?;
        let inside = |folder: &PathBuf| {
            let folder = folder.canonicalize();
            folder.is_ok_and(|folder| real.starts_with(folder))
        };
        if !self.folders.iter().any(inside) {
            return Err(outside(path));
        }
        let found = fs::metadata(&real).map_err(unreadable)?;
        if !found.is_file() {
            return Err(format!("{shown} is no plain file"));
        }
        guard.check(found.mode(), found.uid()).map_err(|allowed| {
            let mode = found.mode() & 0o777;
            format!("{shown} has permissions {mode:04o}, so others than its owner may read it; allowed: {allowed}")
        })?;
        let mut bytes = Vec::new();
        let file = fs::File::open(&real).map_err(unreadable)?;
        file.take(LARGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > LARGEST {
            return Err(format!("{shown} is larger than {LARGEST} bytes"));
        }
        Ok(bytes)
    }

    /// The value of variable `name`.
    ///
    /// # Errors
    /// It may not be read, or is not set.
    pub(super) fn variable(&self, name: &str) -> Result<Secret, String> {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        if !self.environment.iter().any(matches) {
            return Err(format!(
                "variable {name} may not be read; allow it by environment = [\"{name}\"] in section \
                 [secrets] of the control plane's settings"
            ));
        }
        let value = env::var(name).map_err(|_| {
            format!("variable {name} is not set in the environment of the control plane")
        })?;
        Ok(Secret::new(value))
    }
}

impl Guard {
    /// # Errors
    /// The permissions that are allowed.
    fn check(self, mode: u32, owner: u32) -> Result<(), &'static str> {
        let shared = match self {
            Self::Anybody => 0,
            Self::Group if owner == 0 => 0o037,
            Self::Group | Self::Owner => 0o077,
        };
        match (mode & shared, self) {
            (0, _) => Ok(()),
            (_, Self::Group) => Err("0600, or 0640 for a file of root's"),
            (_, Self::Anybody | Self::Owner) => Err("0600"),
        }
    }
}

/// Whether `path` is below `folder` by its name, without a step upwards.
fn lies_in(path: &Path, folder: &Path) -> bool {
    let mut steps = path.components();
    path.starts_with(folder) && !steps.any(|step| step == Component::ParentDir)
}

fn outside(path: &Path) -> String {
    format!(
        "{} is outside of the folders that the control plane may read; allow one by folders = [\"…\"] \
         in section [secrets] of its settings",
        path.display()
    )
}

/// In bytes. A bundle with every authority of a cloud has a third of that.
const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// A folder that may be read, and one beside it that may not.
    struct Folders {
        root: PathBuf,
        sources: SecretSources,
    }

    impl Folders {
        fn new(name: &str) -> Self {
            let root = env::temp_dir().join(format!("sources-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join("allowed")).unwrap();
            fs::create_dir_all(root.join("other")).unwrap();
            let sources = SecretSources {
                folders: vec![root.join("allowed")],
                environment: Vec::new(),
            };
            Self { root, sources }
        }

        fn file(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.root.join(name);
            fs::write(&path, "hunter2\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Folders {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    #[test]
    fn only_files_below_the_folders_are_read_whatever_leads_to_them() {
        let folders = Folders::new("below");
        let inside = folders.file("allowed/pw", 0o600);
        let other = folders.file("other/pw", 0o600);
        let read = |path: &Path| folders.sources.read(path, Guard::Owner);
        assert_eq!(read(&inside).unwrap().reveal(), "hunter2\n");
        let link = folders.root.join("allowed/link");
        symlink(&other, &link).unwrap();
        let upwards = folders.root.join("allowed/../other/pw");
        let absent = folders.root.join("other/absent");
        for path in [&other, &link, &upwards, &absent] {
            let error = read(path).unwrap_err();
            assert!(error.contains("[secrets]"), "{error}");
        }
        let nothing = SecretSources::default();
        assert!(
            nothing.read(&inside, Guard::Owner).is_err(),
            "none by default"
        );
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_where_it_matters() {
        let folders = Folders::new("modes");
        let open = folders.file("allowed/open", 0o640);
        let read = |guard| folders.sources.read(&open, guard);
        assert!(read(Guard::Anybody).is_ok());
        let error = read(Guard::Owner).unwrap_err();
        assert!(error.contains("permissions 0640"), "{error}");
        assert!(!error.contains("hunter2"));
        assert_eq!(Guard::Group.check(0o640, 0), Ok(()));
        assert!(Guard::Group.check(0o640, 1000).is_err());
        assert!(Guard::Group.check(0o644, 0).is_err());
    }

    #[test]
    fn what_is_no_plain_file_or_too_large_is_not_read() {
        let folders = Folders::new("kinds");
        assert!(
            folders
                .sources
                .read(&folders.root.join("allowed"), Guard::Anybody)
                .is_err()
        );
        let large = folders.root.join("allowed/large");
        fs::File::create(&large)
            .unwrap()
            .set_len(LARGEST + 1)
            .unwrap();
        let error = folders.sources.read(&large, Guard::Anybody).unwrap_err();
        assert!(error.contains("larger"), "{error}");
    }

    #[test]
    fn only_variables_that_are_listed_are_read() {
        let sources = |pattern: &str| SecretSources {
            folders: Vec::new(),
            environment: vec![pattern.to_owned()],
        };
        assert!(sources("CARGO_*").variable("CARGO_MANIFEST_DIR").is_ok());
        assert!(
            sources("CARGO_MANIFEST_DIR")
                .variable("CARGO_MANIFEST_DIR")
                .is_ok()
        );
        let error = sources("PG_*").variable("CARGO_MANIFEST_DIR").unwrap_err();
        assert!(error.contains("[secrets]"), "{error}");
        let error = sources("*").variable("POINTSMAN_NO_SUCH").unwrap_err();
        assert!(error.contains("not set"), "{error}");
    }
}
