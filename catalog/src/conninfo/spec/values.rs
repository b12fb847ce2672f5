//! Takes values out of a connection string and collects what is wrong with them.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use super::super::Conninfo;

/// A connection string that is being read. An empty value counts as none, as in libpq.
pub(super) struct Values<'a> {
    info: &'a Conninfo,
    faults: Vec<String>,
}

impl<'a> Values<'a> {
    pub(super) fn new(info: &'a Conninfo) -> Self {
        Self {
            info,
            faults: Vec::new(),
        }
    }

    pub(super) fn fault(&mut self, message: &str) {
        self.faults.push(message.to_owned());
    }

    pub(super) fn into_faults(self) -> Result<(), Vec<String>> {
        match self.faults.is_empty() {
            true => Ok(()),
            false => Err(self.faults),
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(str::to_owned)
    }

    /// The parts between commas.
    pub(super) fn list(&self, key: &str) -> Vec<&'a str> {
        self.get(key)
            .map(|value| value.split(',').collect())
            .unwrap_or_default()
    }

    /// A file. Its place must not depend on where the program was started.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.get(key)?);
        if path.is_absolute() {
            return Some(path);
        }
        self.faults.push(format!(
            "{key}= is a relative path; allowed: one that begins with '/'"
        ));
        None
    }

    pub(super) fn one_of<T: Copy>(&mut self, key: &str, allowed: &[(&str, T)]) -> Option<T> {
        let value = self.get(key)?;
        let found = allowed.iter().find(|(word, _)| *word == value);
        if found.is_none() {
            let words: Vec<_> = allowed.iter().map(|(word, _)| *word).collect();
            self.faults.push(format!(
                "{key}= has a value that is not supported; allowed: {}",
                words.join(", ")
            ));
        }
        found.map(|(_, value)| *value)
    }

    /// 0 or 1.
    pub(super) fn switch(&mut self, key: &str) -> Option<bool> {
        self.one_of(key, &[("0", false), ("1", true)])
    }

    pub(super) fn number(&mut self, key: &str) -> Option<u32> {
        let number = self.get(key)?.trim().parse();
        if number.is_err() {
            self.faults
                .push(format!("{key}= is no number; allowed: 0 or more"));
        }
        number.ok()
    }

    /// 0 stands for what the operating system does.
    pub(super) fn seconds(&mut self, key: &str) -> Option<Duration> {
        let seconds = self.number(key).filter(|&seconds| seconds > 0)?;
        Some(Duration::from_secs(seconds.into()))
    }

    /// Empty means PostgreSQL's own port.
    pub(super) fn port(&mut self, text: &str) -> u16 {
        match (text, text.trim().parse()) {
            ("", _) => 5432,
            (_, Ok(port @ 1..)) => port,
            _ => {
                self.fault("no port in port=; allowed: 1 to 65535");
                0
            }
        }
    }

    pub(super) fn address(&mut self, text: &str) -> Option<IpAddr> {
        let address = text.parse();
        if address.is_err() {
            self.fault("no IP address in hostaddr=; allowed: an IPv4 or IPv6 address");
        }
        address.ok()
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.info.get(key).filter(|value| !value.is_empty())
    }
}
